"""Train a network in PyTorch and save it as TorchScript: `train_torch.py FOLDER`.

Runs in the interpreter that has PyTorch; `train.py` has put the data into the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    """Train, save, and keep what PyTorch itself predicts."""
    folder = Path(sys.argv[1])
    data = np.load(folder / "torch-data.npz")
    torch.manual_seed(7)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 48),
        torch.nn.ReLU(),
        torch.nn.Linear(48, 10),
        torch.nn.Softmax(dim=1),
    )
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"]).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(torch.log(network(x) + 1e-9), y).backward()
        optimizer.step()
    asked = torch.from_numpy(data["asked"])
    with torch.no_grad():
        scores = network(asked).numpy()
    torch.jit.script(network.eval()).save(str(folder / "digits.pt"))
    np.savez(folder / "digits.pt.npz", x=data["asked"], scores=scores)


if __name__ == "__main__":
    main()
