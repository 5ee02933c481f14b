"""Other formats become ONNX here, in a process of its own, checked against the original model.

The path that serves never imports this package, and the heavy libraries (scikit-learn, TensorFlow,
...) are imported by the `from_*` modules only, inside functions: a command that lacks one can say
so. Import-linter holds both.
"""
