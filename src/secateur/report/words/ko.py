"""Korean."""

from __future__ import annotations

KOREAN: dict[str, str] = {
    # head
    "head.kicker": "가지치기 보고서",
    "head.subtitle": "{data} 데이터의 {network}",
    "head.lead": (
        "조밀한 네트워크의 top-1 정확도는 {dense} %이다. 이보다 1 %p 이내인 네트워크 가운데 가장 "
        "희소한 것은 {label}: 희소도 {sparsity} %에서 {accuracy} %, 가중치 수는 1/{factor}."
    ),
    "head.lead.at_run_time": (
        "조밀한 네트워크의 정확도(top-1)는 {dense} %이다. 그보다 1 % 포인트 이내로 낮은 네트워크는 {label}로 "
        "정확도 {accuracy} %이며, 가중치는 모두 남고 입력 평균으로 MACs의 {sparsity} %를 계산하지 않는다."
    ),
    "head.lead.none": (
        "조밀한 네트워크의 top-1 정확도는 {dense} %이다. 이보다 1 %p 이내에 드는 가지치기 "
        "네트워크는 없다."
    ),
    "head.lead.only_dense": (
        "조밀한 네트워크의 top-1 정확도는 {dense} %이다. 실행에는 가지치기가 없으며, 결과는 아래 "
        "분석에 있다."
    ),
    "head.lead.no_dense": "이 결과에는 비교 기준이 될 조밀한 네트워크가 없다.",
    "card.dense": "조밀한 네트워크 top-1",
    "card.best": "1 %p 이내 최대 희소도",
    "card.runs": "완료된 실행",
    "card.seeds": "시드",
    "card.time": "계산 시간",
    "contents": "차례",
    # warnings
    "warn.title": "먼저 읽을 것",
    "warn.unfinished": "실행 {all}개 중 {missing}개가 끝나지 않았다: {names}.",
    "warn.more": "그 밖에 {n}개",
    "warn.run": "{label} (시드 {seed})",
    "warn.one_seed": (
        "시드가 하나뿐이다({seed}). 신뢰구간을 낼 수 없으며, 방법 사이의 차이는 우연일 수 있다."
    ),
    "warn.one_seed_some": "시드가 하나뿐이라 신뢰구간이 없는 방법: {labels}.",
    "warn.two_seeds": (
        "시드가 둘이면 95 % 신뢰구간은 표준오차의 ±12.7배이다. 넓지만 그것이 맞는 폭이다."
    ),
    "warn.test_size": (
        "정확도는 {metric} 이미지 {n}장으로 측정했다. {accuracy} %에서 표본만으로도 ±{error} %p(95 %)의 "
        "불확실성이 있으며, 이는 모든 방법에 공통이다."
    ),
    "warn.test_sizes": "실행마다 평가에 쓴 {metric} 이미지 수가 다르다: {sizes}.",
    "warn.unevaluated": "{metric} 평가가 없어 제외한 실행: {names}.",
    "warn.validation": (
        "테스트 평가가 없는 실행이 있어, 이 보고서의 정확도는 모두 검증 정확도이다."
    ),
    "warn.scale": (
        "실험을 {scale}배 규모로 줄여 실행했다. 정의보다 에포크와 이미지가 적으므로, 이 수치는 전체 "
        "실험을 대신하지 못한다."
    ),
    "warn.fraction": "학습 이미지의 {percent} %만 사용했다.",
    "warn.collapsed": "층 붕괴: {label}, 희소도 {sparsity} % ({n}개 층: {names}).",
    "warn.diverged": "손실이 유한하지 않다: {label}, 희소도 {sparsity} % (시드 {seed}).",
    "warn.versions": "실행마다 {package}의 버전이 다르다: {versions}.",
    "warn.devices": "실행마다 장치가 다르다: {devices}. 시간은 서로 비교할 수 없다.",
    "warn.dirty": "실행 {all}개 중 {n}개는 커밋되지 않은 변경이 있는 상태에서 만들어졌다.",
    "metric.test": "테스트",
    "metric.val": "검증",
    # what was run
    "about.title": "실험 설정",
    "about.network": "네트워크",
    "about.parameters": "매개변수 {n}개",
    "about.weights": "학습된 가중치: {path}",
    "about.data": "데이터",
    "about.data.split": "학습 이미지의 {validation} %를 검증용으로 분리",
    "about.data.augment": "무작위 자르기와 좌우 뒤집기",
    "about.data.crop": "무작위 자르기",
    "about.data.plain": "증강 없음",
    "about.evaluated": "평가",
    "about.images": "{metric} 이미지 {n}장",
    "about.training": "학습",
    "about.training.none": "없음: 학습된 네트워크를 가지치기함",
    "about.training.never": "없음: 초기 가중치",
    "about.seeds": "시드",
    "about.machine": "장비",
    "about.threads": "스레드 {n}개",
    "about.versions": "버전",
    "about.git": "커밋",
    "about.dirty": "커밋되지 않은 변경 있음",
    "about.time": "계산 시간",
    "about.started": "시작",
    "table.methods": "방법과 설정",
    "table.methods.caption": (
        "각 방법이 축마다 하는 일, 실행 설정에 적힌 그대로이다. | 는 격자의 값을 나눈다."
    ),
    # columns
    "column.method": "방법",
    "column.settings": "설정",
    "column.runs": "실행 수",
    "column.model": "모델",
    "column.sparsity": "희소도 (%)",
    "column.density": "밀도 (%)",
    "column.top1": "Top-1 (%)",
    "column.top1_ci": "Top-1 (%) ± 95 % 신뢰구간",
    "column.change": "조밀 대비 (%p)",
    "column.seeds": "시드 수",
    "column.seed": "시드 {seed}",
    "column.nonzero": "0이 아닌 매개변수 (M)",
    "column.macs": "MACs (M)",
    "column.dense_mb": "조밀 float32 (MB)",
    "column.stored_mb": "저장 크기 (MB)",
    "column.params": "매개변수 (M)",
    "column.size": "크기 (MB)",
    "column.time": "시간",
    "column.round": "라운드",
    "column.before": "회복 전 (%)",
    "column.val": "검증 (%)",
    "column.network": "네트워크",
    "column.collapse": "붕괴 희소도 (%)",
    "column.layers": "붕괴한 층",
    "column.layer": "층",
    "column.ticket": "티켓",
    "column.from": "찾은 데이터",
    "column.to": "학습한 데이터",
    "column.barrier": "손실 장벽",
    "column.ends": "양 끝의 손실",
    "column.curve": "곡선",
    "column.run": "실행",
    "column.started": "시작",
    "column.device": "장치",
    "column.commit": "커밋",
    # results
    "results.title": "희소도와 정확도",
    "method.dense": "조밀 (Dense)",
    "method.at_run_time": "{label} (실행 시)",
    "figure.curves": "희소도에 따른 정확도",
    "figure.curves.caption": (
        "시드 평균 {metric} 정확도. 가로축은 밀도의 로그 눈금이다. {bars} 작은 점은 개별 시드, "
        "회색 선은 조밀한 네트워크이다."
    ),
    "figure.curves.bars": (
        "막대: 평균의 95 % 신뢰구간(스튜던트 t), 그림틀에서 잘림. 겹치지 않도록 방법마다 조금씩 옆으로 "
        "옮겨 그렸다."
    ),
    "figure.curves.no_bars": "시드가 하나씩이라 오차 막대가 없다.",
    "figure.curves.zoom": "아래 그림은 위 그림의 윗부분을 확대한 것이다.",
    "figure.curves.alt": "희소도에 따른 정확도의 꺾은선 그래프. {series}",
    "figure.curves.alt.series": "{label}: 희소도 {start} %에서 {first} %, {end} %에서 {last} %.",
    "axis.accuracy": "{metric} 정확도 (%)",
    "axis.zoom": "{metric} 정확도 (%), 확대",
    "axis.sparsity": "희소도",
    "axis.density": "밀도",
    "table.main": "방법별 최종 결과",
    "table.main.caption": (
        "반복 방법은 마지막 라운드, 그 밖의 방법은 희소도마다 한 줄이다. ±는 시드 평균의 95 % "
        "신뢰구간 반폭(스튜던트 t)이며, ±가 없으면 시드가 하나이다. 조밀한 네트워크와의 차이는 같은 "
        "시드끼리 짝지어 구했다. 희소도와 밀도는 가지치기 대상 가중치 기준, MACs는 0이 아닌 가중치의 "
        "곱셈 수이며, 입력마다 결정하는 층이 있으면 입력 평균이다. "
        "저장 크기는 압축하여 실제로 쓴 파일 크기이다. ◆: 더 희소하면서 더 정확한 "
        "네트워크가 여기에 없음."
    ),
    "table.at_run_time": (
        "실행 시: 층이 입력마다 결정하고 가중치는 모두 남는다. 이 행의 희소도와 밀도는 조밀한 네트워크의 "
        "MACs에 대한 비율(입력 평균)이다."
    ),
    "table.efficiency": "효율성 비교",
    "table.efficiency.caption": (
        "방법마다 정확도 손실이 조밀한 네트워크 대비 1 %p 이하인 가장 희소한 네트워크와, 전체에서 가장 "
        "희소한 네트워크. 매개변수는 0이 아닌 것의 수, 크기는 이를 float32(4바이트)로 저장할 때이며 "
        "위치 정보는 제외한다."
    ),
    "rounds.title": "라운드별 결과",
    "table.rounds": "{label}",
    "table.rounds.caption": "라운드마다의 top-1 {metric} 정확도: 시드 평균과 시드별 값.",
    # layers
    "layers.title": "층별 결과",
    "figure.layers": "층별 밀도",
    "figure.layers.caption": (
        "가지치기 대상 층마다 남은 비율(%), 시드 평균. 방법마다 모두가 도달한 희소도 {sparsity} %에 "
        "가장 가까운 상태이다. 색은 로그 눈금이며, ×는 가중치가 남지 않은 층이다."
    ),
    "figure.layers.alt": "밀도의 열지도. 행은 층, 열은 방법.",
    # collapse
    "collapse.title": "층 붕괴",
    "figure.collapse": "희소도 {sparsity} %에서 층별 밀도: {network}",
    "figure.collapse.caption": (
        "학습하지 않은 네트워크를 방법별로 가지치기한 결과. 층은 입력에서 출력 순서이다. 바닥선의 ×는 "
        "붕괴한 층, 곧 남은 가중치가 없거나 입력에서 출력으로 가는 경로가 끊긴 층이다."
    ),
    "figure.collapse.alt": "층별 밀도의 꺾은선 그래프. {series}",
    "figure.collapse.alt.series": "{label}: 붕괴한 층 {n}개, 최소 밀도 {least} %.",
    "axis.layer": "층 (입력에서 출력으로)",
    "axis.layer_density": "층의 밀도 (%)",
    "table.collapse": "방법별 붕괴 지점",
    "table.collapse.caption": (
        "시도한 희소도 가운데 처음으로 층이 붕괴한 값. 없으면 시도한 최대 희소도까지 “없음”이다."
    ),
    "collapse.none": "{sparsity}까지 없음",
    # overlap
    "overlap.title": "마스크 겹침",
    "figure.overlap": "마스크가 공유하는 부분",
    "figure.overlap.caption": (
        "실행 쌍의 자카드 겹침(둘 다 남긴 것 / 하나라도 남긴 것, %){sparsity}. 대각선 아래는 실제 "
        "겹침, 위는 층별 밀도가 같은 독립 마스크라면 나올 겹침이다."
    ),
    "figure.overlap.sparsity": ", 희소도 {sparsity} % 부근",
    "figure.overlap.alt": "실행 {n}개 사이의 마스크 겹침 행렬.",
    # sensitivity
    "sensitivity.title": "민감도",
    "figure.sensitivity": "한 층만 가지치기했을 때의 정확도",
    "figure.sensitivity.caption": (
        "행마다 한 층만 열의 희소도까지 크기 기준으로 가지치기하고 재학습은 하지 않았다. 나머지 층은 "
        "조밀하다. 정확도(%).{dense}"
    ),
    "figure.sensitivity.dense": " 조밀한 네트워크: {accuracy} %.",
    "figure.sensitivity.alt": "층과 희소도별 정확도의 열지도. 가장 민감한 층: {layer}, {accuracy} %.",
    # connectivity
    "connectivity.title": "선형 모드 연결성",
    "figure.connectivity": "두 실행을 잇는 직선 위의 손실과 정확도",
    "figure.connectivity.caption": (
        "두 실행은 k 스텝까지 함께 학습하고 이후 서로 다른 데이터 순서를 따른다. 두 가중치를 잇는 직선 "
        "위에서 네트워크를 평가했다. 손실이 솟으면 장벽이 있는 것이며, 두 실행은 서로 다른 골짜기에서 "
        "끝난 것이다."
    ),
    "figure.connectivity.alt": "직선 위의 손실과 정확도 그래프. {series}",
    "figure.connectivity.alt.series": "{label}: 장벽 {barrier}.",
    "axis.alpha": "직선 위의 위치 α",
    "axis.loss": "손실",
    "axis.accuracy_plain": "정확도 (%)",
    "table.connectivity": "장벽",
    "table.connectivity.caption": (
        "직선 위의 손실이 양 끝 손실을 이은 직선보다 가장 높이 솟은 값."
    ),
    # transfer
    "transfer.title": "티켓 전이",
    "table.transfer": "다른 데이터로 학습한 티켓",
    "table.transfer.caption": (
        "한 데이터에서 찾은 마스크를 다른 데이터에서 새 초기 가중치로 학습한 결과{sparsity}. "
        "“무작위”는 티켓의 마스크를 층 안에서 섞은 것이다."
    ),
    "table.transfer.sparsity": ", 희소도 {sparsity} %",
    "ticket.ticket": "티켓",
    "ticket.random": "무작위 마스크 (층별 밀도 동일)",
    "ticket.dense": "조밀",
    # missing
    "missing.title": "이 보고서에 없는 것",
    "missing.rounds": "라운드별 표: 라운드가 둘 이상인 방법이 없다.",
    "missing.curves": "희소도에 따른 정확도: 평가된 가지치기 네트워크가 없다.",
    "missing.layers": "층별 밀도: 이를 기록한 가지치기 네트워크가 없다.",
    "missing.analysis": "{title}: “{kind}” 분석을 실행하지 않았다.",
    # appendix
    "appendix.title": "실행과 설정",
    "table.runs": "실행",
    "table.runs.caption": (
        "위의 모든 수치는 이 실행들에서 계산했다. 실행의 이름은 폴더와 같이 설정의 다이제스트와 시드이다."
    ),
    "appendix.config": "설정 {digest}: {label}",
    "figure.data": "이 그림의 수치",
    "foot": "Secateur {version}이 결과만으로 만들었다. 손으로 적은 수치는 없다.",
    # units
    "unit.seconds": "{s}초",
    "unit.minutes": "{m}분 {s}초",
    "unit.hours": "{h}시간 {m}분",
}
