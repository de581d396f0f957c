import { shellWord } from "./shell_words.ts";

/**
 * What to type to send TensorBoard's event files to Weights & Biases or to SwanLab.
 *
 * `wandb sync` reads event files up to wandb 0.29.0; later versions removed `--sync-tensorboard`
 * (https://github.com/wandb/wandb/pull/12419). SwanLab spells its option `--tb-log-dir` since May
 * 2026 (https://github.com/SwanHubX/SwanLab/pull/1614), `--tb_logdir` before.
 *
 * @param folder Folder of the event files.
 * @param project Project to send them to.
 */
export function uploadHint(folder: string, project: string): string {
  const [where, to] = [shellWord(folder), shellWord(project)];
  return [
    `The run's curves are TensorBoard's event files in ${folder}. To look at or send them:`,
    `  TensorBoard  tensorboard --logdir ${where}`,
    `  W&B          pip install 'wandb<=0.29.0' tensorboard && ` +
    `wandb sync --sync-tensorboard --project ${to} ${where}`,
    `  SwanLab      swanlab convert -t tensorboard --tb-log-dir ${where} ` +
    `--tb-types scalar,image,text -p ${to}`,
  ].join("\n");
}
