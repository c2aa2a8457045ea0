"""Teachers: what a network is taught by beside the labels.

`config` is what every step that listens to a teacher may be told, and `classroom` makes all of it ready.
`reference` finds what a user named (a bundle, an export of one, a .tflite), `network` and `artefact` make it answer,
`convention` says how an artefact takes its photos, `classes` lays its classes over the student's. `views` shows a
teacher the very cut of a photo that the student sees, `answers` keeps its word on the disk, and `guidance` turns it
into losses for `fit`. `unlabelled` finds photos that may join without a label.
"""
