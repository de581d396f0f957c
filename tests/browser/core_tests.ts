/** The tests of kernels and models, to be bundled for a page. */

import "./deno_in_page.ts";

import "../activation_test.ts";
import "../attention_test.ts";
import "../batch_decoder_test.ts";
import "../checkpoint_test.ts";
import "../contrastive_test.ts";
import "../cross_entropy_test.ts";
import "../decoder_test.ts";
import "../elementwise_test.ts";
import "../embedding_test.ts";
import "../experts_test.ts";
import "../golden_test.ts";
import "../half_test.ts";
import "../kv_cache_test.ts";
import "../layer_norm_test.ts";
import "../matmul_test.ts";
import "../optimizer_kernels_test.ts";
import "../patches_test.ts";
import "../reduce_test.ts";
import "../rms_norm_test.ts";
import "../rows_test.ts";
import "../sample_tokens_test.ts";
import "../softmax_test.ts";
import "../swiglu_test.ts";
import "../tape_test.ts";
