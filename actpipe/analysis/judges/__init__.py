"""Language models, encoders and people who judge explanations, and the exam that certifies them.

A judge is registered in `backends.BACKENDS`, a protocol in `protocols.PROTOCOLS`: a line each.
"""

from .config import JudgeConfig
from .exam import Grade, take_exam
from .protocols import PROTOCOLS
from .rule_judge import RuleJudge
from .stage import JudgeResult, judge

__all__ = ["PROTOCOLS", "Grade", "JudgeConfig", "JudgeResult", "RuleJudge", "judge", "take_exam"]
