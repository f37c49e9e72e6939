/* From a logit to a score. */
#include "engine/activation.h"

#include <math.h>

float cr_activate(cr_activation activation, float logit) {
    switch (activation) {
    case CR_ACTIVATION_SIGMOID:
        return (float)(1 / (1 + exp(-(double)logit)));
    case CR_ACTIVATION_TANH:
        return (float)tanh((double)logit);
    case CR_ACTIVATION_NONE:
    case CR_ACTIVATION_MODEL:
        break;
    }
    return logit;
}
