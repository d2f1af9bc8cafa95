"""The settings of the job with these wildcards."""


def evaluation(wildcards):
    return wildcards.variant, int(wildcards.seed), int(wildcards.step), float(wildcards.guidance)


def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def gate_settings(wildcards):
    return STAGES.gate(wildcards.variant, int(wildcards.seed), int(wildcards.step))


def loss_settings(wildcards):
    return STAGES.losses(wildcards.variant, int(wildcards.seed))


def sample_settings(wildcards):
    return STAGES.sample(*evaluation(wildcards))


def extractor_settings(wildcards):
    return STAGES.extractor(wildcards.extractor)


def reference_settings(wildcards):
    return STAGES.reference(wildcards.extractor)


def feature_settings(wildcards):
    return STAGES.features(*evaluation(wildcards), wildcards.extractor)


def score_settings(wildcards):
    return STAGES.score(*evaluation(wildcards), metric_keys())


def level_settings(wildcards):
    return STAGES.levels(wildcards.extractor, metric_keys())


def memorisation_settings(wildcards):
    return STAGES.memorisation(*evaluation(wildcards))
