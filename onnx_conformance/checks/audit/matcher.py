"""Match every initialiser with native tensors: first copies, then folded and scaled ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from onnx_conformance.checks.audit.computed_constants import ComputedConstants
from onnx_conformance.checks.audit.formats import Format, Formats
from onnx_conformance.checks.audit.graph_names import NativeNames, labels_of
from onnx_conformance.checks.audit.kernels import explain_kernel
from onnx_conformance.checks.audit.layouts import equal_layout, fingerprint
from onnx_conformance.checks.audit.matches import Fold, WeightMatch
from onnx_conformance.checks.audit.vectors import (
    VectorCandidates,
    explain_vector,
    vector_candidates,
)
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.graph_weights import Use


class WeightMatcher:
    """The matches found so far, by initialiser, and what they are made from."""

    def __init__(
        self,
        weights: Mapping[str, Array],
        folds: Sequence[Fold],
        initializers: Mapping[str, Array],
        formats: Formats,
        computed: ComputedConstants,
    ) -> None:
        self.matches: dict[str, list[WeightMatch]] = {}
        self._weights = weights
        self.folds = folds
        self.initializers = initializers
        self.formats = formats
        self._placed: set[str] = set()
        self.computed = computed

    def match_all(self, names: NativeNames, uses: Mapping[str, Use]) -> None:
        """Explain all that can be explained; the names only say what to try first."""
        self._match_copies()
        self.computed.find(self.initializers, self.matches, self.formats)
        self._match_kernels(names, uses)
        self._link_folded_constants()
        self._match_vectors(names, uses)

    def by_native(self) -> dict[str, list[WeightMatch]]:
        """The matches by the native tensors that they are made from."""
        found: dict[str, list[WeightMatch]] = defaultdict(list)
        for match in (match for matches in self.matches.values() for match in matches):
            for native in match.natives:
                found[native].append(match)
        return found

    def unexplained(self) -> list[tuple[str, Array]]:
        """The floating-point initialisers without a match."""
        return [
            (name, found)
            for name, found in self.initializers.items()
            if name not in self.matches
            and name not in self.computed.initializers
            and found.size
            and is_float(found)
        ]

    def _add(self, match: WeightMatch) -> None:
        self.matches.setdefault(match.initializer, []).append(match)
        self._placed.update(match.natives)

    def _match_copies(self) -> None:
        prints: dict[object, dict[str, Array]] = defaultdict(dict)
        for form in self.formats.known:
            for native, array in self._weights.items():
                held = form.held(array)
                prints[fingerprint(held)][native] = held
        present = ((name, found) for name, found in self.initializers.items() if found.size)
        for name, found in present:
            for native, held in prints.get(fingerprint(found), {}).items():
                layout = equal_layout(held, found)
                if layout is not None:
                    self._add(WeightMatch(name, (native,), "identical", "copy", layout))

    def _match_kernels(self, names: NativeNames, uses: Mapping[str, Use]) -> None:
        kernels = defaultdict(list)
        for native, array in self._weights.items():
            if array.ndim > 1 and is_float(array):
                kernels[array.size].append(native)
        for name, found in self.unexplained():
            if found.ndim < 2 or found.size not in kernels:
                continue
            named = names.modules_named(labels_of(name, uses))
            natives = sorted(kernels[found.size], key=lambda n: (n not in named, n in self._placed))
            form = self.formats.of(name, found)
            indexed = indexed_of(name, uses)
            match = explain_kernel(name, found, natives, self._weights, self.folds, form, indexed)
            if match is not None:
                self._add(match)

    def _link_folded_constants(self) -> None:
        """Kernels that native computes, times a BatchNorm's factor."""
        kernels = self.computed.kernels()
        for name, found in self.unexplained() if self.folds else ():
            natives = [one for one, known in kernels.items() if known.size == found.size]
            if found.ndim < 2 or not natives:
                continue
            arrays = {one: kernels[one].values for one in natives}
            noises = {one: kernels[one].noise for one in natives}
            form = self.formats.of(name, found)
            match = explain_kernel(name, found, natives, arrays, self.folds, form, (), noises)
            if match is not None and match.fold is not None:
                self.computed.folded(match)
                self.matches.setdefault(name, []).append(match)

    def _match_vectors(self, names: NativeNames, uses: Mapping[str, Use]) -> None:
        by_size: dict[tuple[int, Format], VectorCandidates | None] = {}
        for name, found in self.unexplained():
            key = found.size, self.formats.of(name, found)
            if key not in by_size:
                by_size[key] = self._hypotheses(*key)
            known = by_size[key]
            if known is None:
                continue
            indexed = indexed_of(name, uses)
            named = names.modules_named(labels_of(name, uses))
            match = explain_vector(name, found, known, self._weights, key[1], indexed, named)
            if match is not None:
                self._add(match)

    def _hypotheses(self, size: int, form: Format) -> VectorCandidates | None:
        vectors = {
            native: array
            for native, array in self._weights.items()
            if array.size == size == max(array.shape, default=1) and is_float(array)
        }
        folds = [(i, fold) for i, fold in enumerate(self.folds) if fold.factor.size == size]
        normalising = {name for _, fold in folds for name in (*fold.scale, *fold.shift)}
        biases = [name for name in vectors if name not in self._placed | normalising]
        return vector_candidates(vectors, biases, folds, form)


def indexed_of(name: str, uses: Mapping[str, Use]) -> set[int]:
    """The axes along which the graph reads an initialiser by index."""
    return uses[name].indexed if name in uses else set()


def is_float(array: Array) -> bool:
    """Also for the formats of ``ml_dtypes``, which NumPy does not count as floating."""
    return bool(np.issubdtype(array.dtype, np.floating)) or "float" in array.dtype.name
