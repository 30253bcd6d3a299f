"""Look up diagnoses by their rule."""

from resnet50.evaluation.diagnostics.diagnosis import Diagnosis


def rules(diagnoses: list[Diagnosis]) -> set[str]:
    return {diagnosis.rule for diagnosis in diagnoses}


def find(diagnoses: list[Diagnosis], rule: str) -> Diagnosis:
    matching = [diagnosis for diagnosis in diagnoses if diagnosis.rule == rule]
    assert matching, f"{rule} not among {rules(diagnoses)}"
    return matching[0]
