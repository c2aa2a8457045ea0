"""The invented species, each a set of plumage colors and proportions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Marks = Literal["none", "streaks", "spots", "bars"]
TailShape = Literal["square", "forked", "round"]


@dataclass(frozen=True, slots=True)
class Species:
    """One invented species; colors are hex, an empty color falls back to the neighboring region's."""

    name: str
    back: str
    belly: str
    crown: str = ""
    nape: str = ""
    cheek: str = ""
    throat: str = ""
    breast: str = ""
    flank: str = ""
    rump: str = ""
    vent: str = ""
    brow: str = ""
    stripe: str = ""
    mask: str = ""
    bib: str = ""
    malar: str = ""
    band: str = ""
    ring: str = ""
    eye: str = "1c130d"
    wing: str = "3c3631"
    coverts: str = ""
    edge: str = "a39680"
    bars: int = 0
    bar: str = "f1ece0"
    panel: str = ""
    tail: str = "3c3631"
    tail_edge: str = ""
    marks: Marks = "none"
    mark: str = "3a2c20"
    bill_upper: str = "2e2925"
    bill_lower: str = "4b443d"
    bill_length: float = 0.75
    bill_depth: float = 0.42
    bill_curve: float = 0.06
    legs: str = "4a3b34"
    leg_length: float = 0.24
    crest: float = 0.0
    head: float = 0.205
    plump: float = 1.0
    tail_length: float = 0.5
    tail_shape: TailShape = "square"
    tail_lift: float = 0.0
    stance: float = 24.0
    size: float = 1.0


_TINLET = Species(
    name="Embercap Tinlet",
    back="77705a", belly="e3d3b4", crown="77705a", cheek="a59a80", throat="eadfc6", breast="d2bd97",
    flank="c4a97e", brow="e9dfc8", wing="4a453b", edge="a79d80", tail="524b40", bill_length=0.62,
    bill_depth=0.34, plump=1.08, tail_length=0.42, head=0.222, stance=22, size=0.9,
)  # fmt: skip
_MOSSLET = Species(
    name="Barred Mosslet",
    back="6f7c3a", belly="f0e7ae", crown="2a2d1e", cheek="93964a", throat="f2d33c", breast="ecd457",
    flank="b9b467", stripe="3f4526", brow="e6dc7c", ring="f3eec9", wing="3f4332", edge="8f9a58",
    tail="474c33", bars=2, bill_length=0.66, bill_depth=0.27, bill_lower="8b7458", plump=0.94,
    tail_length=0.5, stance=20, size=0.88, legs="6b5a50",
)  # fmt: skip
_SOOTLING = Species(
    name="Yellowbill Sootling",
    back="2b2a30", belly="37353b", crown="232228", cheek="2b2a30", breast="302e36", wing="26252b",
    edge="4b4a54", tail="222127", eye="0c0b0d", ring="d99a1c", bill_upper="ffb224", bill_lower="f5a01c",
    bill_length=1.1, bill_depth=0.44, tail_length=0.72, tail_shape="round", plump=0.97, stance=26,
    size=1.12, legs="5a3a26",
)  # fmt: skip
_DUSKTHRUSH = Species(
    name="Spotted Duskthrush",
    back="8a6238", belly="f3ead9", crown="84603a", cheek="a98a62", throat="f3ead9", breast="ecd2a2",
    flank="e6cda4", malar="4d3822", ring="eadcc0", wing="684a2b", edge="a27d50", tail="745131",
    marks="spots", mark="352617", bill_length=0.85, bill_depth=0.34, bill_lower="a08258", plump=1.05,
    tail_length=0.52, stance=34, size=1.08, legs="c09a86", leg_length=0.3,
)  # fmt: skip


SPECIES: tuple[Species, ...] = (
    replace(_TINLET, crown="d9571b"),
    replace(_TINLET, name="Emberwing Tinlet", panel="d9571b"),
    Species(
        name="Azure Quillfinch",
        back="3668b0", belly="f1ece2", crown="2f62b4", cheek="3b6cb4", throat="c56a38", breast="c8743f",
        flank="cf8d5c", wing="2b4678", edge="6d93cc", tail="2d5091", bill_length=0.6, bill_depth=0.52,
        plump=1.08, tail_length=0.45, tail_shape="forked", stance=42, size=1.0,
    ),
    _MOSSLET,
    replace(_MOSSLET, name="Plain Mosslet", bars=0, crown="66733a"),
    Species(
        name="Crested Rubill",
        back="a33428", belly="d8503a", crown="c8321f", cheek="d23c26", throat="d23c26", breast="dc4a32",
        mask="201613", wing="7c2c25", edge="b45244", tail="8d2e25", bill_upper="e8692e",
        bill_lower="df5c26", bill_length=0.72, bill_depth=0.74, crest=0.6, plump=1.04, tail_length=0.74,
        tail_shape="round", stance=40, size=1.12,
    ),
    _SOOTLING,
    replace(_SOOTLING, name="Redbill Sootling", bill_upper="d8301e", bill_lower="c8281a", ring="8c2018"),
    _DUSKTHRUSH,
    replace(_DUSKTHRUSH, name="Streaked Duskthrush", marks="streaks"),
    Species(
        name="Pied Tailbob",
        back="8f979e", belly="f6f5f1", crown="17171a", nape="17171a", cheek="f4f3ef", throat="f4f3ef",
        bib="17171a", band="2a2a2e", wing="2b2c30", edge="dcdcd8", bars=2, tail="1a1a1d",
        tail_edge="f4f3ef", bill_length=0.7, bill_depth=0.24, plump=0.86, tail_length=0.92, stance=8,
        leg_length=0.3, size=0.95, legs="222025",
    ),
    Species(
        name="Bracken Wrenlet",
        back="7a4a2a", belly="d2b48c", crown="734628", cheek="a67d54", throat="e8d8ba", breast="c9a274",
        flank="ad7c4e", brow="efe2c8", wing="5f3a22", edge="a9754a", marks="bars", mark="5a3820",
        tail="6a4025", tail_lift=62, tail_length=0.36, bill_length=0.78, bill_depth=0.2, bill_curve=0.16,
        plump=1.2, head=0.225, stance=10, size=0.8, tail_shape="round", legs="a07a62",
    ),
    Species(
        name="Violet Sunspike",
        back="4b2f86", belly="2f7f6c", crown="2a9a78", cheek="33508c", throat="8a2fa0", breast="7a2b93",
        flank="2f7f6c", wing="2c2440", edge="5b4a90", tail="2b2350", tail_shape="forked", bill_length=1.9,
        bill_depth=0.2, bill_curve=0.42, plump=0.82, tail_length=0.46, stance=38, size=0.85, legs="2a2428",
    ),
    Species(
        name="Goldmask Weftling",
        back="8d8a4a", belly="f0c52e", crown="f0b81c", cheek="181512", mask="181512", throat="181512",
        breast="efbf22", wing="4d4a30", edge="c9bf6c", bars=1, bar="e9d98a", tail="6f6b3a",
        bill_upper="1d1a18", bill_lower="25211e", bill_length=0.72, bill_depth=0.55, plump=1.06,
        tail_length=0.42, eye="b5301c", stance=28, size=1.0, legs="8d6a5c",
    ),
)  # fmt: skip
"""Every species, in the order in which `SampleConfig.species` takes them."""

ALIKE: tuple[tuple[str, str], ...] = (
    ("Embercap Tinlet", "Emberwing Tinlet"),
    ("Barred Mosslet", "Plain Mosslet"),
    ("Yellowbill Sootling", "Redbill Sootling"),
    ("Spotted Duskthrush", "Streaked Duskthrush"),
)
"""Pairs that differ in one or two field marks only: the fine-grained part of the task."""
