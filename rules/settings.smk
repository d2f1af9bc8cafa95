"""The settings of the job with these wildcards."""


def evaluation(wildcards):
    return wildcards.variant, int(wildcards.seed), int(wildcards.step), float(wildcards.guidance)


def further_steps(wildcards):
    return further_in(wildcards.apart)


def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def gate_settings(wildcards):
    return STAGES.gate(wildcards.variant, int(wildcards.seed), int(wildcards.step))


def loss_settings(wildcards):
    return STAGES.losses(wildcards.variant, int(wildcards.seed))


def sample_settings(wildcards):
    return STAGES.sample(*evaluation(wildcards), further_steps(wildcards))


def extractor_settings(wildcards):
    return STAGES.extractor(wildcards.extractor)


def reference_settings(wildcards):
    return STAGES.reference(wildcards.extractor)


def feature_settings(wildcards):
    return STAGES.features(*evaluation(wildcards), wildcards.extractor, further_steps(wildcards))


def score_settings(wildcards):
    return STAGES.score(*evaluation(wildcards), metric_keys(), further_steps(wildcards))


def level_settings(wildcards):
    return STAGES.levels(wildcards.extractor, metric_keys())


def memorisation_settings(wildcards):
    return STAGES.memorisation(*evaluation(wildcards), further_steps(wildcards))
