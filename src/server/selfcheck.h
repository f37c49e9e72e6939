/* The self-check: a model that scores wrongly must never be served.
 *
 * Scores a handful of pairs on the real lanes: alone and in company the logits
 * must be the same to the bit where the backend promises it, finite, and near
 * what known_scores.json in the model's folder says, where that file is there
 * and was made for these weights.
 *
 * Threads: any; waits for its answer. */
#ifndef CR_SERVER_SELFCHECK_H
#define CR_SERVER_SELFCHECK_H

#include "sched/pipeline.h"

/* CR_ERR_MODEL says what differs. *known: whether there were known scores. */
cr_status cr_selfcheck_run(cr_pipeline *pipeline, cr_generation *generation,
                           bool *known, cr_error *error);

#endif
