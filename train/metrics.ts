/** What is recorded of an optimizer step; one line of the metrics file. */
export interface StepMetrics {
  /** Optimizer step over all epochs, from 1. */
  step: number;
  /** Epoch, from 1. */
  epoch: number;
  /** Mean cross-entropy of the tokens learnt, averaged over the micro-batches. */
  loss: number;
  /** Load-balancing loss of the experts, averaged likewise; 0 without experts. */
  aux_loss: number;
  /** Learning rate. */
  lr: number;
  /** Norm of the whole gradient before clipping. */
  grad_norm: number;
  /** By what losses are multiplied from then on, in float16. */
  loss_scale?: number;
  /** Rows that went through the language model. */
  tokens: number;
  /** Samples. */
  samples: number;
  /** Seconds that it took, the mean of the steps whose numbers were read together. */
  seconds: number;
}
