"""Asks the authors' evaluation of TextVQA and GQA and writes what it says to answers.json.gz.

    git clone https://github.com/haotian-liu/LLaVA
    python tests/golden/vqa/authors.py LLaVA

made with commit c121f04 of that repository, unmodified. `llava/eval/m4c_evaluator.py` repeats the evaluator of TextVQA of
facebookresearch/mmf; `scripts/convert_gqa_for_eval.py` is run as its users run it. The answers are drawn from a seed.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).with_name("answers.json.gz")
ROWS = 1000
TEXT = (
    "a an the A An The red car STOP coca-cola budweiser none zero one Two ten eleven 2 10 3.5 .5 5. 1,000 12:30 $5.00 "
    "u.s.a. Mr. don't dont cant isnt it's its it s let's lets dog's dogs o'clock oclock 'twas twas im I'm hes he's "
    "somebody'd somebodyd 'ows'at ow's'at y'all no. no, yes? (exit) exit) [sic] a/b a / b x+y = {x} \"hi\" \\ _ under_score "
    "#1 @home 50% café naïve ... . , ? ! - -- ; : ` < > \n \t unanswerable answering does not require reading text"
)
WORDS = TEXT.split(" ")


def drawn(dice: random.Random, vocabulary: list[str]) -> str:
    """An answer of up to five words, with odd spaces, joins, capitals and ends."""
    words = [dice.choice(vocabulary) for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5)))]
    text = dice.choice((" ", " ", " ", "  ", "", ",", "-", "/", "\n")).join(words)
    text = dice.choice((str, str, str.upper, str.title))(text)
    return dice.choice(("", "", "", " ", "(")) + text + dice.choice(("", "", "", ".", "!", ". ", ","))


def textvqa(theirs: Any, dice: random.Random) -> list[list[Any]]:
    """Rows [answer, ten references, the answer as they normalise it, its accuracy]."""
    evaluator = theirs.TextVQAAccuracyEvaluator()
    vocabulary = WORDS + list(theirs.EvalAIAnswerProcessor.CONTRACTIONS)
    rows = []
    for number in range(ROWS):
        pool = [drawn(dice, vocabulary) for _ in range(dice.choice((1, 2, 4, 10)))]
        references = [dice.choice(pool) for _ in range(10)]
        answer = dice.choice([*pool, dice.choice(pool).lower(), drawn(dice, vocabulary)])
        if number % 100 == 0:
            answer += "x." * 40
        score = evaluator.eval_pred_list([{"pred_answer": answer, "gt_answers": references}])
        rows.append([answer, references, evaluator.answer_processor(answer), score])
    return rows


def gqa(script: Path, dice: random.Random) -> list[list[Any]]:
    """Rows [answer, reference, whether it is right]; answers come without spaces around them, as models' are cut there."""
    plain = ["yes", "no", "red", "traffic light", "t-shirt", "left", "to the left", "coca cola", "2"]
    answers = []
    for _ in range(ROWS):
        text = dice.choice((str, str.upper, str.title))(dice.choice(plain))
        answers.append(
            (dice.choice(("", "", "", "the ", ".", '"')) + text + dice.choice(("", "", ".", "..", "!", " ."))).strip()
        )
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "given.jsonl", Path(folder) / "written.json"
        lines = [json.dumps({"question_id": number, "text": answer}) for number, answer in enumerate(answers)]
        given.write_text("\n".join(lines))
        subprocess.run([sys.executable, script, "--src", given, "--dst", written], check=True)
        predictions = [row["prediction"] for row in json.loads(written.read_text())]
    rows = []
    for answer, prediction in zip(answers, predictions, strict=True):
        reference = dice.choice([word for word in plain if word in prediction] + [dice.choice(plain)])
        rows.append([answer, reference, prediction == reference])
    return rows


if __name__ == "__main__":
    checkout = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location("m4c_evaluator", checkout / "llava" / "eval" / "m4c_evaluator.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{checkout} is no checkout of LLaVA")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    dice = random.Random(20190418)
    said = {"textvqa": textvqa(theirs, dice), "gqa": gqa(checkout / "scripts" / "convert_gqa_for_eval.py", dice)}
    EXPECTED.write_bytes(gzip.compress(json.dumps(said, ensure_ascii=False).encode(), mtime=0))
