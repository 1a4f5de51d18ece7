"""Load, validate and resolve ``tolerances.yaml``; say which rule applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from onnx_conformance.core.case import Case
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml

# Every key that a tolerances file must give, by check.
KEYS: dict[str, tuple[str, ...]] = {
    "error_budget": (
        "factor",
        "floor_ulp",
        "maximum_noise_floor",
        "ordinary_scale",
        "constant_share",
    ),
    "liveness": ("minimum", "coarse_minimum", "dead_share", "moving_share", "missing_share"),
    "allclose": ("rtol", "atol_rms"),
    "tutorial": ("rtol", "atol"),
    "batch_invariance": ("factor", "floor_ulp"),
    "sweep": (
        "pool_share",
        "lone",
        "strays",
        "flips",
        "neighbour_ulp",
        "neighbour_share",
        "open_share",
        "unjudged",
    ),  # fmt: skip
    "deciding_values": ("factor", "floor_ulp", "near", "share"),
    "top5": ("tie_factor",),
    "one_pass": ("same",),
    "initializers": ("fold_ulp", "copy_ulp", "tiny_ulp", "step_share"),
    "untraced": ("seen_share", "least_effect", "margin"),
    "photographs": ("preprocess_levels",),
    "canary": ("least_move",),
    "localise": ("factor", "floor_ulp"),
    "oracle": ("rounding_ulp", "noise_factor"),
    "approximation": ("sigmoid", "tanh", "elu", "softplus", "mish"),
    "padding": ("own_error",),
    "sqnr": ("confidence", "least_db"),
    "task": (
        "confidence",
        "agreement",
        "bold_margin",
        "bold_flips",
        "margin_lost",
        "divergence",
        "accuracy_loss",
    ),  # fmt: skip
    "composition": ("share_of_noise",),
    "float16": ("roundoff", "factor", "floor_ulp", "largest_scale", "rtol", "atol_rms"),
    "bfloat16": ("roundoff", "factor", "floor_ulp", "rtol", "atol_rms"),
    "tf32": ("roundoff", "factor", "floor_ulp", "rtol", "atol_rms"),
}
# The classes of a case's precision, of which some have a noise floor of their own.
FLOAT32 = "float32"
ROUNDED = ("float16", "bfloat16", "tf32")
INT8 = "int8"  # judged by what it decides: no budget in roundoffs
PRECISIONS = (FLOAT32, *ROUNDED, INT8)
OF_FILES = (FLOAT32, "float16", INT8)  # TF32 is how a provider multiplies: no file is in it
# What a class's roundoff multiplies, and in which checks its other figures stand in.
IN_ROUNDOFFS = {
    "error_budget": "floor_ulp",
    "batch_invariance": "floor_ulp",
    "localise": "factor",  # inside a network the errors of float32 alone are known
}
STAND_IN = {
    "factor": ("error_budget", "batch_invariance"),
    "floor_ulp": ("error_budget", "batch_invariance"),
    "rtol": ("allclose",),
    "atol_rms": ("allclose",),
    "largest_scale": ("error_budget",),
}
# These shape the noise floor, which all cases of a model share: no override can change them.
OF_THE_NOISE_FLOOR = ("approximation", "oracle", "padding")
# What no honest figure lies outside of; a file that needs more has another problem.
LIMITS: dict[str, tuple[float, float]] = {
    "factor": (0.0, 100.0),
    "floor_ulp": (0.0, 64.0),
    "maximum_noise_floor": (0.0, 0.5),
    "ordinary_scale": (10.0, 1e6),
    "constant_share": (0.8, 1.0),
    "minimum": (100.0, 1e30),
    "coarse_minimum": (20.0, 1e30),
    "dead_share": (0.0, 0.95),
    "moving_share": (0.0, 1.0),
    "missing_share": (0.0, 1.0),
    "rtol": (0.0, 0.1),
    "atol": (0.0, 0.1),
    "atol_rms": (0.0, 0.1),
    "pool_share": (0.5, 1.0),
    "near": (0.0, 0.25),
    "share": (0.5, 1.0),
    "lone": (1.0, 16.0),
    "strays": (0.0, 4.0),
    "flips": (0.0, 16.0),
    "neighbour_ulp": (0.0, 64.0),
    "neighbour_share": (0.0, 0.5),
    "open_share": (0.0, 0.1),
    "unjudged": (0.0, 0.9),
    "tie_factor": (0.0, 100.0),
    "same": (0.0, 1e-3),
    "fold_ulp": (0.0, 64.0),
    "copy_ulp": (0.0, 2.0),
    "tiny_ulp": (0.0, 16.0),
    "step_share": (0.5, 1.0),
    "preprocess_levels": (0.0, 8.0),
    "least_move": (1e-5, 1.0),
    "rounding_ulp": (0.0, 1024.0),
    "own_error": (16.0, 1e6),
    "noise_factor": (0.0, 64.0),
    "roundoff": (1.0, 2.0**20),
    "largest_scale": (1.0, 1e6),
    "confidence": (0.9, 0.9999),
    "least_db": (3.0, 120.0),
    "agreement": (0.5, 1.0),
    "bold_margin": (0.1, 0.9),
    "bold_flips": (0.0, 0.25),
    "margin_lost": (0.0, 0.25),
    "divergence": (0.0, 1.0),
    "accuracy_loss": (0.0, 0.1),
    "share_of_noise": (0.0, 2.0),
    "seen_share": (0.5, 1.0),
    "least_effect": (0.0, 0.1),
    "margin": (0.0, 1.0),
}
LIMITS.update(dict.fromkeys(KEYS["approximation"], (0.0, 16.0)))
MATCHERS = ("model", "exporter", "provider", "precision", "check")
SCHEMA = 1


@dataclass(frozen=True)
class Override:
    """One looser (or tighter) rule: which cases, which figures, and why."""

    match: dict[str, str]
    figures: dict[str, float]
    reason: str
    line: int

    def applies(self, check: str, case: Case, precision: str = "") -> bool:
        """Whether the override is about this check of this case."""
        facts = {
            "model": case.model,
            "exporter": case.route,
            "provider": case.provider,
            "precision": precision or case.precision,
            "check": check,
        }
        return all(fnmatchcase(facts[key], pattern) for key, pattern in self.match.items())


@dataclass(frozen=True)
class Rule:
    """The figures that apply to one check of one case, and where they come from."""

    figures: dict[str, float]
    origin: str

    def __getitem__(self, key: str) -> float:
        return self.figures[key]

    def get(self, key: str, default: float) -> float:
        """The figure, or ``default`` where the case's class of precision does not have one."""
        return self.figures.get(key, default)


@dataclass(frozen=True)
class Tolerances:
    """A validated tolerances file."""

    path: Path
    defaults: dict[str, dict[str, float]]
    overrides: tuple[Override, ...]

    def rule(self, check: str, case: Case | None) -> Rule:
        """The defaults, those of the case's precision, and every matching override in order.

        Of native itself, which is no case (``None``), the defaults.

        A class of less precision than float32 has a noise floor of its own, and so a factor of its
        own; what counts in ulps counts in the class's: ``floor_ulp`` times its ``roundoff``
        (docs/numerics.md, "Classes of precision").
        """
        if case is None:
            return Rule(dict(self.defaults[check]), f"{self.path.name}: defaults")
        figures, origin = self._resolve(check, case)
        if case.precision in ROUNDED:
            of_class, source = self._resolve(case.precision, case)
            scaled, unit = IN_ROUNDOFFS.get(check), of_class["roundoff"]
            if scaled:
                figures[scaled] *= unit
                origin += f", {scaled} times {unit:g}, the roundoff of {case.precision} ({source})"
        return Rule(figures, f"{self.path.name}: {origin}")

    def _resolve(self, check: str, case: Case) -> tuple[dict[str, float], str]:
        figures, origin = dict(self.defaults[check]), "defaults"
        if case.precision in ROUNDED:
            of_class = self.defaults[case.precision]
            figures |= {key: of_class[key] for key in of_class if check in STAND_IN.get(key, ())}
        for override in self.overrides:
            overridden = {key: value for key, value in override.figures.items() if key in figures}
            if overridden and override.applies(check, case):
                figures.update(overridden)
                origin = f"override at line {override.line}: {override.reason}"
        return figures, origin

    def unused(self, cases: Iterable[Case]) -> list[Override]:
        """The overrides that match none of ``cases``, in any precision: stale, or misspelt."""
        known = list(cases)
        return [
            override
            for override in self.overrides
            if not any(
                override.applies(check, case, precision)
                for check in KEYS
                for precision in PRECISIONS
                for case in known
            )
        ]


def load_tolerances(path: Path) -> Tolerances:
    """Read and validate a tolerances file.

    Raises:
        UsageError: naming the file, the line and the key.
    """
    top = read_yaml(path).keys(("schema", "defaults", "overrides"))
    top["schema"].schema(SCHEMA)
    defaults = top["defaults"].keys(KEYS)
    figures = {check: _figures(defaults[check].keys(KEYS[check])) for check in KEYS}
    return Tolerances(path, figures, tuple(map(_override, top["overrides"].entries("an override"))))


@lru_cache
def shipped(section: str) -> dict[str, float]:
    """The figures of one section of the shipped file."""
    return load_tolerances(TOLERANCES).defaults[section]


def _figures(nodes: dict[str, YamlNode]) -> dict[str, float]:
    return {key: node.number(*LIMITS[key]) for key, node in nodes.items()}


def _override(node: YamlNode) -> Override:
    found = node.keys(("match", "set", "reason"))
    match = found["match"].keys((), optional=MATCHERS)
    if not match:
        found["match"].fail("an override needs a 'match'; for all cases, change the defaults")
    patterns = {key: value.text() for key, value in match.items()}
    cases = [check for check in KEYS if check not in OF_THE_NOISE_FLOOR]
    checks = [check for check in cases if fnmatchcase(check, patterns.get("check", "*"))]
    known = {key for check in checks for key in KEYS[check]}
    figures = found["set"].mapping()
    for key, value in figures.items():
        if key not in known:
            value.fail(f"no check that this override matches has a figure '{key}'")
    return Override(patterns, _figures(figures), found["reason"].reason(), node.line)
