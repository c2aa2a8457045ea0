"""A folder for Edge Impulse's "Upload your model": the int8 artefact, its labels on one line, what to choose there."""

from __future__ import annotations

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step

PACKAGE = "edge-impulse"


class EdgeImpulseConfig(StepConfig):
    """What Edge Impulse is given."""

    softmax: bool = True
    """let the uploaded network end with a softmax, so that Edge Impulse shows probabilities instead of logits"""
    comma: str = Field("", max_length=1)
    """what stands for a comma within a class name, such as ';': Edge Impulse takes commas for the end of a name; where
    nothing is given here such a name is refused"""


@step(needs=("export:int8", "labels", "preprocess"))
def edge_impulse(bundle: Bundle, config: EdgeImpulseConfig, ctx: Context) -> Bundle:
    """The bundle with exports/edge-impulse: upload.tflite, labels.txt, parameters.json and README.txt.

    Raises:
        ExportError: a class name cannot stand in a line of names, the network cannot be fed exactly by Edge Impulse, or
            TensorFlow Lite Micro, which Edge Impulse builds on, does not run it.
        BundleError: the artefact is damaged, or breaks featherlite's contract.
    """
    from featherlite.export.arena import arena_of
    from featherlite.export.edge_impulse_text import Upload, label_line, parameters, readme
    from featherlite.export.packing import artefact_to_pack, with_package
    from featherlite.export.upload import upload_artefact
    from featherlite.models.artefact import PACKED

    source, facts = artefact_to_pack(bundle)
    labels = label_line([label.name for label in bundle.labels], config.comma, ctx.warn)
    data = upload_artefact(source, softmax=config.softmax)
    upload = Upload(source, data, labels, bundle.preprocess, arena_of(bundle, PACKED, facts), config.softmax)
    if bundle.preprocess.denoise or bundle.preprocess.autocontrast:
        ctx.warn(
            "This network expects photos whose noise was reduced or whose levels were stretched (preprocess.json); "
            "Edge Impulse does neither, so its answers will differ."
        )
    ctx.record("edge_impulse", {"bytes": len(data), "softmax": config.softmax, "labels": len(labels)})
    files = {
        "upload.tflite": data,
        "labels.txt": ",".join(labels).encode("utf-8"),
        "parameters.json": parameters(upload),
        "README.txt": readme(upload).encode("utf-8"),
    }
    return with_package(bundle, PACKAGE, files)
