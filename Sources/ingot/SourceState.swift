import Glibc
import JSON
import Models
import Safetensors
import Storage

/// Which files a journal was made of, beyond what hashes of some of their bytes tell.
enum SourceState {
  /// Names, lengths and times of last change of the files of a checkpoint, of those of a GGUF and the `config.json` beside it, or of a
  /// single file.
  static func json(of path: String) -> JSONValue {
    let names = (SystemCall.names(in: path) ?? []).filter { name in
      [".safetensors", ".gguf", ".json"].contains { name.hasSuffix($0) }
    }
    let files =
      ModelFiles.Kind(of: path) == .gguf
      ? Checkpoint.ggufFiles(of: path) + ["\(OutputFile.split(path).directory)/config.json"]
      : names.isEmpty ? [path] : names.sorted().map { "\(path)/\($0)" }
    return .array(
      files.map { file in
        guard let status = SystemCall.status(of: file) else { return .null }
        return [
          JSONValue(OutputFile.split(file).name), JSONValue(Int(status.st_size)),
          JSONValue(Int(status.st_mtim.tv_sec)), JSONValue(Int(status.st_mtim.tv_nsec)),
        ]
      })
  }

  static func json(ofCheckpoint path: String, computation: JSONValue) -> JSONValue {
    ["files": json(of: path), "computation": computation]
  }
}
