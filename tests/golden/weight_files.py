"""Makes the small torch and ONNX files in weight_files/ that crates/networks reads in its tests (torch 2.15).

Run: python weight_files.py weight_files
The ONNX file is written field by field (onnx.proto3), so that no exporter's choices hide in it.
"""
import os
import struct
import sys

import torch

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
torch.manual_seed(0)


def ramp(*shape, dtype=torch.float32, start=0):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float64) / 8 + start).to(dtype).reshape(shape)


base = ramp(4, 6)
state = {
    "plain": base,
    "transposed": base.t(),                      # shares its storage with "plain"
    "slice": base[1:3, 2:5],                     # offset and strides
    "half": ramp(3, 2, dtype=torch.float16, start=1),
    "bfloat": ramp(5, dtype=torch.bfloat16, start=-2),
    "double": ramp(2, 2, dtype=torch.float64),
    "counter": torch.tensor(7),
    "parameter": torch.nn.Parameter(ramp(3)),
    "scalar": torch.tensor(1.5),
}
torch.save(state, os.path.join(out, "zip.pth"))
torch.save(state, os.path.join(out, "legacy.pth"), _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "lr": 0.1, "state_dict": {"w": base}}, os.path.join(out, "nested.pth"))
torch.save({"image_proj": {"norm.weight": base}, "ip_adapter": {"1.to_k_ip.weight": ramp(2)}},
           os.path.join(out, "adapter.bin"))


def varint(n):
    b = b""
    while True:
        b, n = b + bytes([(n & 0x7F) | (0x80 if n > 0x7F else 0)]), n >> 7
        if not n:
            return b


def field(number, payload):
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def tensor(name, shape, data_type, body):
    return b"".join(field(1, d) for d in shape) + field(2, data_type) + field(8, name.encode()) + body


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def external(location, offset, length):
    entries = [("location", location), ("offset", str(offset)), ("length", str(length))]
    return b"".join(field(13, field(1, k.encode()) + field(2, v.encode())) for k, v in entries) + field(14, 1)


def node(op, *inputs):
    return b"".join(field(1, i.encode()) for i in inputs) + field(4, op.encode())


graph = b"".join([
    field(1, node("Conv", "x", "900", "901")),
    field(1, node("Relu", "y")),
    field(1, node("Conv", "y", "side1.weight", "side1.bias")),
    field(1, node("Conv", "y", "12", "13")),
    field(5, tensor("900", [2, 1, 1, 1], 1, field(9, floats(1, 2)))),
    field(5, tensor("901", [2], 1, field(4, floats(3, 4)))),
    field(5, tensor("12", [1, 2, 1, 1], 10, field(9, struct.pack("<2e", 0.5, -1.5)))),
    field(5, tensor("13", [1], 1, external("outside.bin", 8, 4))),
    field(5, tensor("side1.weight", [1], 1, field(9, floats(5)))),
    field(5, tensor("side1.bias", [1], 1, field(9, floats(6)))),
    field(5, tensor("axes", [1], 7, field(7, varint(2)))),
])
with open(os.path.join(out, "model.onnx"), "wb") as f:
    f.write(field(1, 8) + field(2, b"test") + field(7, graph))
with open(os.path.join(out, "outside.bin"), "wb") as f:
    f.write(floats(0, 0, 7))
