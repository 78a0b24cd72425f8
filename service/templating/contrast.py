"""Colors that can be read, whatever the brand's is. Contrast as WCAG 2.2 computes it."""

READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3
BLACK, WHITE = "#000000", "#ffffff"
LIGHT, DARK = "#f4f5f7", "#1c2027"  # of the built-in templates: what colored text stands on at worst
STEPS = 50
STRAIGHT_UNTIL = 0.04045  # of the curve of sRGB


def text_color_on(color: str) -> str:
    """Black or white, whichever is easier to read on it. One of them always is readable."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, color))


def readable_color(color: str, *, on: str) -> str:
    """The color itself, or as little away from it as it takes to be read there."""
    shades = (_mixed(color, text_color_on(on), step / STEPS) for step in range(STEPS + 1))
    return next(shade for shade in shades if contrast(shade, on) >= READABLE)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= STRAIGHT_UNTIL else float(((channel + 0.055) / 1.055) ** 2.4)


def _mixed(color: str, other: str, share: float) -> str:
    pairs = zip(_channels(color), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
