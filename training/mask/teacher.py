"""The public U²-Net as a torch module: MaskNet with the published widths, read from u2net.onnx.

The file's BatchNorm is folded, and its 112 convolutions are numbered in the order in which they run.
`python teacher.py u2net.onnx` compares the module with onnxruntime.
"""

import sys

import onnx
import torch
from onnx import numpy_helper

from network import MaskNet

TEACHER_WIDTHS = [
    ("stage1", "7", 32, 64),
    ("stage2", "6", 32, 128),
    ("stage3", "5", 64, 256),
    ("stage4", "4", 128, 512),
    ("stage5", "4F", 256, 512),
    ("stage6", "4F", 256, 512),
    ("stage5d", "4F", 256, 512),
    ("stage4d", "4", 128, 256),
    ("stage3d", "5", 64, 128),
    ("stage2d", "6", 32, 64),
    ("stage1d", "7", 16, 64),
]


def load_teacher(path):
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    numbered = sorted((name for name in tensors if name.isdigit()), key=int)
    net = MaskNet(TEACHER_WIDTHS)
    own = [key for key in net.state_dict() if key.startswith("stage")]
    state = dict(zip(own, (tensors[name] for name in numbered), strict=True))
    state.update({key: value for key, value in tensors.items() if not key.isdigit()})
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


if __name__ == "__main__":
    import onnxruntime as ort

    x = torch.randn(1, 3, 320, 320)
    session = ort.InferenceSession(sys.argv[1])
    theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    ours = torch.sigmoid(load_teacher(sys.argv[1])(x)[0])
    print("largest difference of d0:", (ours - torch.from_numpy(theirs[0])).abs().max().item())
