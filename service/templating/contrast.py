"""Makes readable colors from any brand color. Contrast is computed as in WCAG 2.2."""

READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3
BLACK, WHITE = "#000000", "#ffffff"
LIGHT, DARK = "#f4f5f7", "#1c2027"  # the worst backgrounds for colored text in the built-in templates
STEPS = 50
LINEAR_UNTIL = 0.04045  # sRGB: below this the curve is a straight line


def text_color_on(color: str) -> str:
    """Black or white, whichever is easier to read on the color. One of them is always readable."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, color))


def readable_color(color: str, *, on: str) -> str:
    """The color itself, or the nearest shade of it that can be read on the background."""
    shades = (_mix(color, text_color_on(on), step / STEPS) for step in range(STEPS + 1))
    return next(shade for shade in shades if contrast(shade, on) >= READABLE)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linearize(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linearize(channel: float) -> float:
    return channel / 12.92 if channel <= LINEAR_UNTIL else float(((channel + 0.055) / 1.055) ** 2.4)


def _mix(color: str, other: str, share: float) -> str:
    pairs = zip(_channels(color), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
