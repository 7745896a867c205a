"""What the server is given to do."""

import pictures

# How many jobs are open at a time.
OPEN = 6
# What a key may spend, where credits are counted.
CREDITS = 1_000_000


def kinds() -> list[tuple[str, dict]]:
    """Work of different lengths, each with its seed, so that its picture is known once it was made."""
    subject = pictures.data_uri(pictures.encoded(pictures.large_subject(256), "JPEG", quality=90))
    larger = {"subject_image": subject, "max_width": 256, "max_height": 256}
    return [
        ("small", {"seed": 1}),
        ("large", larger | {"seed": 2}),
        ("small png", {"seed": 3, "output_format": "png"}),
        ("large, more steps", larger | {"seed": 4, "steps": 8}),
    ]
