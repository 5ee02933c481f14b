"""Train the classifier of digits that the examples serve, and write `model.onnx`.

The guide to a first model (docs/guides/first-model.md) goes through it.
"""

from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pixels, labels = load_digits(return_X_y=True)
pixels = pixels.astype("float32")
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(pixels, labels)

exported = to_onnx(model, pixels[:1], options={id(model): {"zipmap": False}}, target_opset=18)
with open("model.onnx", "wb") as file:
    file.write(exported.SerializeToString())
