"""Draws one answer as an SVG, which the README shows.

    maeum predict FILE --transcript T --json | python docs/draw_answer.py > docs/answer.svg

Left: the utterance on the plane of valence and arousal. Right: the probability of each emotion.
"""

import json
import sys
from html import escape
from pathlib import Path

INK, FAINT, ACCENT = "#24292f", "#d0d7de", "#8250df"
SIDE, LEFT, TOP = 220, 70, 40
SCALE = (1.0, 5.0)


def text(x: float, y: float, content: str, anchor: str = "start", size: int = 13, colour: str = INK) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(content)}</text>'


def position(score: float) -> float:
    low, high = SCALE
    return (score - low) / (high - low) * SIDE


def plane(arousal: float, valence: float) -> list[str]:
    x, y, middle = LEFT + position(valence), TOP + SIDE - position(arousal), SIDE / 2
    return [
        f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="{FAINT}"/>',
        f'<path d="M{LEFT} {TOP + middle}h{SIDE}M{LEFT + middle} {TOP}v{SIDE}" stroke="{FAINT}"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{ACCENT}"/>',
        text(LEFT + middle, TOP - 12, "excited (arousal 5)", "middle"),
        text(LEFT + middle, TOP + SIDE + 20, "calm (arousal 1)", "middle"),
        text(LEFT - 8, TOP + middle - 4, "negative", "end"),
        text(LEFT - 8, TOP + middle + 12, "valence 1", "end", 11),
        text(LEFT + SIDE + 8, TOP + middle - 4, "positive"),
        text(LEFT + SIDE + 8, TOP + middle + 12, "valence 5", size=11),
        text(x, y - 13, f"{valence:.2f}, {arousal:.2f}", "middle", 12, ACCENT),
    ]


def bars(probabilities: dict[str, float], left: float) -> list[str]:
    drawn = []
    for row, (name, share) in enumerate(sorted(probabilities.items(), key=lambda item: -item[1])):
        y, colour = TOP + 22 + row * 40, FAINT if row else ACCENT
        drawn += [
            text(left - 10, y + 15, name, "end"),
            f'<rect x="{left}" y="{y}" width="{max(1.0, share * 160):.1f}" height="22" fill="{colour}"/>',
            text(left + share * 160 + 6, y + 15, f"{share:.0%}", size=12),
        ]
    return drawn


def main() -> None:
    answer = json.loads(sys.stdin.readline())
    title = f"{Path(answer['file']).name}: valence {answer['valence']:.2f} from the transcript, arousal "
    title += f"{answer['arousal']:.2f} from the audio, {answer['emotion']['label']} from both"
    print(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 330" font-family="system-ui, sans-serif" role="img">'
    )
    print(f"<title>{escape(title)}</title>")
    print('<rect width="700" height="330" fill="#ffffff"/>')
    print("\n".join(plane(answer["arousal"], answer["valence"]) + bars(answer["emotion"]["probabilities"], left=470)))
    print(text(350, 315, title, "middle"))
    print("</svg>")


if __name__ == "__main__":
    main()
