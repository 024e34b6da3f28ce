"""Korean, for studies of language models."""

from __future__ import annotations

KOREAN_LANGUAGE: dict[str, str] = {
    "lm.kicker": "언어 모델 가지치기 실험",
    "lm.subtitle": "{model} · 질문: {data}",
    "lm.lead": (
        "최적 실험은 {id}이다. 매개변수가 {parameters} % 줄었고, 선택에 쓰지 않은 질문 {n}개에서 원본 "
        "ROUGE-L의 {rouge} %, BLEU의 {bleu} %를 유지한다. 목표 {goals}개 가운데 {met}개를 달성했다."
    ),
    "lm.lead.none": "아직 끝난 가지치기 실험이 없다.",
    "lm.card.dense": "원본의 ROUGE-L",
    "lm.card.copy": "질문을 그대로 옮긴 경우의 ROUGE-L",
    "lm.card.winner": "최적 실험",
    "lm.card.runs": "완료된 실험",
    "lm.card.time": "계산 시간",
    "lm.warn.unfinished": "끝나지 않은 실험: {names}.",
    "lm.warn.scale": "실험을 {scale}배 규모로 줄여 실행했다. 질문과 학습 단계가 정의보다 적다.",
    "lm.warn.small": (
        "모델은 이 질문들로 몇 분 동안 여기서 학습한 작은 모델이다. 실험이 동작함을 보일 뿐, 큰 모델이 "
        "얼마나 잘 줄어드는지는 말해 주지 않는다."
    ),
    "lm.warn.test": "테스트 질문 {n}개, 시드 하나의 결과이다. 몇 퍼센트의 차이는 우연일 수 있다.",
    "lm.warn.copy": (
        "원본이 질문을 그대로 옮긴 것보다 낫지 않다(ROUGE-L {dense} 대 {copy}). 가지치기의 영향을 말하기 "
        "어렵다."
    ),
    "lm.warn.time": "응답 시간은 {device}, 스레드 {threads}개로 원본과 번갈아 측정했다.",
    "lm.results.title": "결과",
    "lm.goals.title": "목표",
    "lm.winner.title": "최적 실험",
    "lm.removed.title": "제거된 것",
    "lm.samples.title": "답변 비교",
    "lm.table.main": "전체 실험",
    "lm.table.main.caption": (
        "프루닝: 전체 단위(뉴런, 헤드 그룹) 가운데 제거한 비율. 메모리: 가중치. ROUGE-L(F1)과 BLEU는 테스트 "
        "질문 {n}개 기준이며 한글 등 모든 문자를 유지한다. 응답 시간: 토큰 {tokens}개에 걸린 초, 답변 "
        "{samples}개의 평균과 95 % 신뢰구간."
    ),
    "lm.table.tasks": "과제",
    "lm.table.tasks.caption": (
        "Language Model Evaluation Harness의 과제, 각 {samples}문항. 표준오차는 그 도구가 구한 값이다."
    ),
    "lm.table.more": "그 밖의 측정",
    "lm.table.more.caption": (
        "핵심어: 답을 다른 답과 구별해 주는 단어 가운데 맞힌 비율. 퍼플렉서티는 정답 텍스트의 토큰 "
        "{tokens}개, 창 길이 {length} 기준이며, 바이트당 비트는 토크나이저와 무관하다. 최대 메모리: 답변 중 "
        "프로세스(또는 장치)의 최댓값."
    ),
    "lm.table.goals": "원본 대비 유지와 절감",
    "lm.table.goals.caption": (
        "목표: ROUGE-L은 원본의 {rouge} % 이상, BLEU는 {bleu} % 이상, 응답 시간은 {time} % 이하, 메모리는 "
        "{memory} % 이하. 달성 ✓, 미달 ✗. 시간은 번갈아 답한 시간의 비율이며 95 % 신뢰구간을 함께 적었다. "
        "구간 전체가 목표 안에 들면 달성이고, 일부만 들면 불확실이다."
    ),
    "lm.column.id": "ID",
    "lm.column.prune": "프루닝 %",
    "lm.column.parameters": "매개변수",
    "lm.column.memory": "메모리 MiB",
    "lm.column.rouge": "ROUGE-L",
    "lm.column.bleu": "BLEU",
    "lm.column.response": "응답 시간 초",
    "lm.column.note": "비고",
    "lm.column.rouge1": "ROUGE-1",
    "lm.column.rouge2": "ROUGE-2",
    "lm.column.keyword": "핵심어 %",
    "lm.column.exact": "완전 일치 %",
    "lm.column.perplexity": "퍼플렉서티",
    "lm.column.bits": "바이트당 비트",
    "lm.column.rate": "초당 토큰",
    "lm.column.first": "첫 토큰 ms",
    "lm.column.peak": "최대 MiB",
    "lm.column.met": "달성",
    "lm.column.rouge_kept": "ROUGE-L %",
    "lm.column.bleu_kept": "BLEU %",
    "lm.column.time_kept": "시간 %",
    "lm.column.memory_kept": "메모리 %",
    "lm.column.question": "질문",
    "lm.column.wanted": "정답",
    "lm.column.original": "원본",
    "lm.column.pruned": "{id}",
    "lm.column.structure": "구조",
    "lm.column.digest": "실행",
    "lm.note.original": "원본 모델",
    "lm.note.best": "{phase}단계 최적",
    "lm.note.winner": "전체 최적",
    "lm.figure.pareto": "품질과 메모리",
    "lm.figure.pareto.alt": (
        "각 실험을 가중치 메모리와 ROUGE-L·BLEU 유지율의 평균(모두 원본 대비 퍼센트)으로 나타낸 그림. 두 "
        "값 모두에서 다른 실험에 지지 않는 실험을 선으로 이었다."
    ),
    "lm.figure.pareto.caption": (
        "테스트 질문 기준. 선은 두 값 모두에서 다른 실험에 지지 않는 실험을 잇고, 점선은 원본이다. 왼쪽 위가 "
        "가장 좋다."
    ),
    "lm.axis.memory": "메모리, 원본 대비 %",
    "lm.axis.quality": "품질 유지율, %",
    "lm.phase": "{phase}단계: {title}",
    "lm.figure.removed": "층마다 제거된 단위",
    "lm.figure.removed.alt": "행은 층, 열은 실험이다. 진할수록 많이 제거되었다.",
    "lm.figure.removed.caption": "층의 단위 가운데 제거된 퍼센트. 열은 실험 ID이다.",
    "lm.unclear": "불확실",
    "lm.table.samples": "테스트 질문 몇 개",
    "lm.table.samples.caption": "있는 그대로의 답이다. 모든 실험에 같은 질문, 탐욕적 디코딩.",
    "lm.winner.run": "실험",
    "lm.winner.why": "선정 이유",
    "lm.winner.reason": (
        "검증 질문 {n}개에서 목표 {goals}개 가운데 {met}개를 달성했으며 이보다 많이 달성한 실험은 없다. 같은 "
        "수를 달성한 실험 가운데 품질을 가장 많이 유지한다: 원본 ROUGE-L과 BLEU의 {quality} %. 테스트 "
        "질문은 선택에 쓰지 않았다."
    ),
    "lm.winner.options": "설정",
    "lm.winner.parameters": "매개변수",
    "lm.winner.memory": "메모리",
    "lm.winner.time": "응답 시간",
    "lm.winner.rouge": "테스트 ROUGE-L",
    "lm.winner.bleu": "테스트 BLEU",
    "lm.winner.form": "형태",
    "lm.winner.form.a": "크기만 줄어든 일반 모듈",
    "lm.winner.form.masks": "원래 크기의 가중치 안의 0",
    "lm.winner.form.other": "수준 {level}",
    "lm.change": "{before} → {after} ({change} %)",
    "lm.change.interval": "{change} % (95 % 신뢰구간 {low} ~ {high} %)",
    "lm.about.title": "실험 방법",
    "lm.about.model": "모델",
    "lm.about.questions": "질문",
    "lm.about.questions.value": "{data}: 보정 {calibration}개, 선택 {validation}개, 보고 {test}개",
    "lm.about.method": "방법",
    "lm.about.machine": "장비",
}
