"""The audit of weights: explains each initialiser by native tensors, and finds what is missing.

A few inputs cannot reveal one flipped sign among two million weights, so the audit reads the
weights themselves. Whether the file *uses* them correctly is judged by the error budget.

How it looks for them (``audit.audit_initializers``, called by the check ``initializers``):

1. What the file stores becomes numbers: eight bits are multiplied by their scales, the blocks of
   ONNX Runtime's convolutions are undone (``stored_forms``). How far each may be off is a matter
   of its number format (``formats``).
2. Each initialiser is explained, by the first of these that fits (``matcher``): a copy, bit by
   bit, in any order of axes (``layouts``); what native computes from its weights alone
   (``computed_constants``); a kernel times a BatchNorm's factor, or any factor along the output
   channels (``kernels``); a vector: a damaged copy, or the factor, offset or folded bias of a
   BatchNorm (``vectors``). What resembles is compared in full (``deviation``).
3. Each native tensor gets a finding (``audit``, ``findings``). One damaged copy among good ones
   fails; so does a tensor that holds the right values under another tensor's name or operator
   (``graph_names``).
4. A tensor that no initialiser holds was taken up by a fold, computed into a constant, gathered
   entry by entry, or may be absent (``dropped``); else it is missing.
5. A missing one is sought among the initialisers without explanation: its values in another
   order or in parts (``rearranged``), a vector that arithmetic may have taken up (``absorbed``), a
   moved and damaged copy, or none of these while something has no explanation (``unexplained``).

What each status means is in ``findings.Finding``. ``rounded``, ``differs``, ``missing`` and
``untraced`` fail; the last not where inputs are shown to see such a tensor (``initializers``).
Where inputs are judged too coarsely to see a weight that is a little off (half precision, int8),
rescaled kernels, values in another order and absorbed vectors fail as well.
"""
