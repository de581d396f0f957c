/** The hubs: Hugging Face with its mirrors, and ModelScope. */

import { FormatError } from "../../kernels/runtime/errors.ts";
import { isRecord } from "../../model/strict_json.ts";
import type { Http } from "./http.ts";
import {
  checkId,
  encodePath,
  type Hub,
  type RemoteFile,
  remoteFile,
  type RepositoryName,
} from "./repository.ts";

/**
 * The Hugging Face hub or a mirror of it. A branch is resolved to its commit first, so that files
 * that are fetched one after the other belong together.
 *
 * Interface: https://huggingface.co/docs/hub/api
 *
 * @param endpoint Its address; that of the hub if left out.
 */
export function huggingFace(endpoint = "https://huggingface.co"): Hub {
  const base = endpoint.replace(/\/+$/, "");
  return {
    endpoint: base,
    async list({ id, type, revision = "main" }, http) {
      const name = encodePath(checkId(id));
      const at = encodeURIComponent(revision);
      const url = `${base}/api/${type}s/${name}/revision/${at}?blobs=true`;
      const json = await http.json(url, `${id} at ${revision}`);
      const { sha, siblings } = isRecord(json) ? json : {};
      if (typeof sha !== "string" || !/^[0-9a-f]+$/i.test(sha) || !Array.isArray(siblings)) {
        throw new FormatError(
          `${base} answers for ${id} with something else than a list of files.`,
        );
      }
      const folder = `${base}/${type === "dataset" ? "datasets/" : ""}${name}/resolve/${sha}/`;
      return siblings.filter(isRecord).map(({ rfilename, size, blobId, lfs }) =>
        remoteFile(
          rfilename,
          isRecord(lfs) ? lfs.size : size,
          isRecord(lfs) ? { kind: "sha256", hex: lfs.sha256 } : { kind: "git", hex: blobId },
          (path) => folder + encodePath(path),
          base,
        )
      );
    },
  };
}

/** Files a page of ModelScope's listing of a data set. */
const PAGE = 100;

/**
 * ModelScope.
 *
 * @param endpoint Its address if it is another than ModelScope's own.
 */
export function modelScope(endpoint = "https://www.modelscope.cn"): Hub {
  const base = endpoint.replace(/\/+$/, "");
  const files = async (http: Http, url: string, what: string): Promise<unknown[]> => {
    const json = await http.json(url, what);
    const data = isRecord(json) && isRecord(json.Data) ? json.Data : {};
    if (!Array.isArray(data.Files)) {
      throw new FormatError(
        `${base} answers for ${what} with something else than a list of files.`,
      );
    }
    return data.Files;
  };
  return {
    endpoint: base,
    async list(repository, http) {
      const { id, type, revision = "master" } = repository;
      const name = encodePath(checkId(id));
      const query = `Revision=${encodeURIComponent(revision)}&Recursive=True`;
      const all: unknown[] = [];
      if (type === "model") {
        all.push(...await files(http, `${base}/api/v1/models/${name}/repo/files?${query}`, id));
      } else {
        const number = await dataSetNumber(http, base, repository);
        for (let page = 1, count = PAGE; count === PAGE; page++) {
          const part = `&Root=${encodeURIComponent("/")}&PageNumber=${page}&PageSize=${PAGE}`;
          const found = await files(
            http,
            `${base}/api/v1/datasets/${number}/repo/tree?${query}${part}`,
            id,
          );
          all.push(...found);
          count = found.length;
        }
      }
      const folder = `${base}/${type}s/${name}/resolve/${encodeURIComponent(revision)}/`;
      const blobs = all.filter(isRecord).filter(({ Type }) => Type !== "tree");
      return blobs.map(({ Path, Size, Sha256 }): RemoteFile =>
        remoteFile(
          Path,
          Size,
          Sha256 ? { kind: "sha256", hex: Sha256 } : undefined,
          (path) => folder + encodePath(path),
          base,
        )
      );
    },
  };
}

/** ModelScope lists data sets by number. */
async function dataSetNumber(http: Http, base: string, { id }: RepositoryName): Promise<number> {
  const json = await http.json(`${base}/api/v1/datasets/${encodePath(id)}`, id);
  const number = isRecord(json) && isRecord(json.Data) ? json.Data.Id : undefined;
  if (typeof number === "number" && Number.isSafeInteger(number)) return number;
  throw new FormatError(`${base} answers for ${id} without the number of the data set.`);
}
