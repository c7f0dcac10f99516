import Glibc
import Storage

/// The weights of one model as published: one safetensors file, or several with an index that says which tensor is where.
///
/// Names of shards mean nothing here: LLaDA2 numbers them from 00000, others from 00001, and a layer may be spread over
/// all of them. The index is believed only after it was compared with what the shards hold.
package struct Checkpoint: Sendable {
  package static var indexName: String { "model.safetensors.index.json" }
  package static var singleName: String { "model.safetensors" }
  /// Largest file that is read as a whole: index, config, tokenizer. The index of LLaDA2 flash has 3 MB.
  package static var maximumSmallFileByteCount: Int { 64 << 20 }

  /// Where config and tokenizer lie.
  package let directory: String
  /// The shards, sorted by name.
  package let files: [SafetensorsFile]
  private let fileOfTensor: [String: Int]
  /// What the index says of the sum of all tensors, where that is wrong.
  package private(set) var wrongTotalSize: WrongTotalSize?

  /// A `total_size` that is not the sum of the tensors' bytes; all else in the index is right.
  package struct WrongTotalSize: Sendable, Equatable {
    /// As it is written.
    package let stated: String
    package let found: Int
    package let path: String
    package let byteOffset: Int
  }

  /// Opens a directory with an index, a single file, or else the GGUF files of one model.
  ///
  /// - Throws: `noCheckpoint` or `twoCheckpoints` when it is not clear what to open, a rule of the index, or a rule of
  ///   the first shard that breaks one.
  package init(directory: String) throws(SafetensorsError) {
    let singlePath = "\(directory)/\(Self.singleName)"
    let hasSingle = try Self.isFile(singlePath)
    guard try Self.isFile("\(directory)/\(Self.indexName)") else {
      if hasSingle {
        try self.init(file: singlePath)
      } else if Self.hasShards(directory) {
        throw SafetensorsError(.noIndex, path: directory)
      } else if let gguf = try Self.gguf(in: directory) {
        try self.init(gguf: gguf, companions: directory)
      } else {
        throw Self.nothingFound(in: directory)
      }
      return
    }
    let index = try CheckpointIndex(path: "\(directory)/\(Self.indexName)")
    guard !hasSingle || index.shardNames == [Self.singleName] else {
      throw SafetensorsError(.twoCheckpoints, path: directory)
    }
    let files = try index.openShards(in: directory)
    try self.init(directory: directory, files: files)
    try index.requireAgreement(with: self)
    wrongTotalSize = index.wrongTotalSize(found: totalByteCount)
  }

  /// Opens one safetensors file as a whole checkpoint, whatever its name, or a GGUF.
  package init(file path: String) throws(SafetensorsError) {
    if path.hasSuffix(Self.ggufSuffix) {
      try self.init(gguf: path, companions: nil)
    } else {
      try self.init(directory: Self.split(path).directory, files: [try SafetensorsFile(path: path)])
    }
  }

  /// Opens what a user names: a file that ends in `.safetensors` or `.gguf`, else a directory.
  ///
  /// - Parameter companions: where config and tokenizer lie; nil for beside the weights.
  package init(path: String, companions: String? = nil) throws(SafetensorsError) {
    let isNamedAsFile = [".safetensors", Self.ggufSuffix].contains(where: path.hasSuffix)
    let isDirectory = SystemCall.status(of: path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? !isNamedAsFile
    let own = try isDirectory ? Checkpoint(directory: path) : Checkpoint(file: path)
    guard let companions else {
      self = own
      return
    }
    try self.init(directory: companions, files: own.files)
    wrongTotalSize = own.wrongTotalSize
  }

  /// Takes shards that were opened already, sorted by name; what an index says of them is not asked.
  ///
  /// - Throws: `tensorInTwoShards`.
  package init(directory: String, files: [SafetensorsFile]) throws(SafetensorsError) {
    self.directory = directory
    self.files = files
    var fileOfTensor: [String: Int] = [:]
    fileOfTensor.reserveCapacity(files.reduce(0) { $0 + $1.tensors.count })
    for (position, file) in files.enumerated() {
      for tensor in file.tensors {
        guard let other = fileOfTensor.updateValue(position, forKey: tensor.name) else { continue }
        throw SafetensorsError(
          .tensorInTwoShards(other: files[other].name), path: file.path, tensor: tensor.name,
          byteOffset: tensor.headerOffset)
      }
    }
    self.fileOfTensor = fileOfTensor
  }

  /// The tensor and the file that has its bytes, or nil.
  package func tensor(named name: String) -> (file: SafetensorsFile, entry: TensorEntry)? {
    guard let position = fileOfTensor[name], let entry = files[position][name] else { return nil }
    return (files[position], entry)
  }

  /// All names, sorted.
  package var tensorNames: [String] { fileOfTensor.keys.sorted() }

  /// Bytes of all tensors together.
  package var totalByteCount: Int { files.reduce(0) { $0 + $1.dataByteCount } }

  /// Refuses what was read of the weights where a shard is not as it was when it was opened.
  ///
  /// - Parameter mayBeReplaced: whether another file may have a shard's name by now.
  package func requireUnchanged(mayBeReplaced: Bool) throws(SafetensorsError) {
    do throws(FileError) {
      for shard in files { try shard.file.requireUnchanged(mayBeReplaced: mayBeReplaced) }
    } catch { throw SafetensorsError(error) }
  }

  /// The bytes of a file beside the weights, such as `config.json`.
  ///
  /// - Parameter limit: larger files are refused before anything is read.
  /// - Throws: `system`, with ENOENT when there is no such file; `fileTooLarge`; `shardName` when it is a path.
  package func readSmallFile(
    name: String, limit: Int = Checkpoint.maximumSmallFileByteCount
  ) throws(SafetensorsError) -> [UInt8] {
    guard name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy({ Self.isPlainFileName(String($0)) })
    else { throw SafetensorsError(.shardName(name), path: directory) }
    let file = try Self.mapSmallFile("\(directory)/\(name)", limit: limit)
    return file.bytes.array
  }

  /// The names of the files of weights that a directory should have: those of its index, the single one, or those of its GGUF. Empty for
  /// an index that cannot be read, and for several models, as opening them tells why.
  package static func weightFiles(in directory: String) -> [String] {
    let path = "\(directory)/\(indexName)"
    if SystemCall.status(of: path) != nil { return (try? CheckpointIndex(path: path).shardNames) ?? [] }
    guard !hasShards(directory) else { return [singleName] }
    do throws(SafetensorsError) {
      guard let gguf = try gguf(in: directory) else { return [singleName] }
      return ggufFiles(of: gguf).map { split($0).name }
    } catch { return [] }
  }

  private static func hasShards(_ directory: String) -> Bool {
    (SystemCall.names(in: directory) ?? []).contains { $0.hasSuffix(".safetensors") }
  }

  /// What lies in the directory, the weights among it; empty where it cannot be listed.
  package var fileNames: [String] { SystemCall.names(in: directory) ?? [] }

  static func mapSmallFile(_ path: String, limit: Int) throws(SafetensorsError) -> MappedFile {
    let file: MappedFile
    do throws(FileError) { file = try MappedFile(path: path) } catch { throw SafetensorsError(error) }
    guard file.byteCount <= limit else {
      throw SafetensorsError(.fileTooLarge(byteCount: file.byteCount, limit: limit), path: path)
    }
    return file
  }

  /// Whether the name stays in its directory. A zero byte would end the name early for the system.
  package static func isPlainFileName(_ name: String) -> Bool {
    !name.isEmpty && name != "." && name != ".." && !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == 0 }
  }

  /// Whether there is a file; what is there but cannot be opened is an error.
  private static func isFile(_ path: String) throws(SafetensorsError) -> Bool {
    do throws(FileError) {
      _ = try MappedFile(path: path)
      return true
    } catch {
      guard error.isMissing else { throw SafetensorsError(error) }
      return false
    }
  }

  /// Says that the directory is missing if it is, else that it holds no weights.
  private static func nothingFound(in directory: String) -> SafetensorsError {
    do throws(FileError) {
      _ = try MappedFile(path: directory)
    } catch {
      if error.isMissing { return SafetensorsError(error) }
    }
    return SafetensorsError(.noCheckpoint, path: directory)
  }
}
