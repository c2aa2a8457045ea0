"""Photos: found, read, judged, cleaned, split, decoded once, spoilt on purpose, drawn.

The way of a photo through this room:

- where it lies: `sources/` (one file a layout), `listing`, `reader`; in containers `containers`, `tar`, `parquet`;
  from the network: `hub`, `known` (well-known sets), `unpack`
- what it is: `source` (the scan), `reading` (threads or processes), `look` (what one decode finds out), `memo`, `pool`
- what is wrong with it: `audit` (the step), `evidence`, `findings`, `audit_tables`, `checks/` (one file each); behind
  them `light` (histograms), `near` and `registration` (near-duplicates), `features`, `handmade`, `discriminant` and
  `confident` (wrong labels)
- what is done about it: `clean` (the step), `decisions`, `manifest`
- on which side it stands: `split` (the step), `assign`, `union`, `splits`
- what networks see of it: `photos`, `cache`; kept, as features are, in `shards`; without labels: `unlabelled`
- what weather does to it: `corrupt/`; where there is none: `sample/` draws it
"""
