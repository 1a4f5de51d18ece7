"""What runs in worker processes: the only code that imports torch, TensorFlow or ONNX Runtime.

A process is started by ``boot`` and answers in ``server``, whose requests are the public methods of
its backend:

- ``torch``, ``keras``, ``onnx``, ``python``: native models (``native.NativeBackend``)
- ``onnxruntime``: sessions, their timings and traces; ``probe_backend``: why one does not open
- ``reader``: whether a file may be judged at all
- ``user_model``: what the models of a user's file take and give
- ``variants``: files made of other files

The folders of frameworks have the same file names: ``backend``; ``user_models`` and
``calling_convention`` (what users hand in, and how it is called); ``export``; ``precision``,
``float64`` and ``replicas`` (compute modes); ``constants`` and ``introspect`` (what is computed of
weights alone, what reads them); ``calibrate`` and ``zoo`` (models by pointer); ``trace``;
``timing``; ``private`` (what is used beyond public interfaces, with a self-test).

Frameworks share ``native``, ``replica_arithmetic``, ``operator_translations``, ``stopwatch``,
``calling_convention``, ``built_model`` and ``import_code``. ``file_store`` runs on other hosts.
"""
