import Glibc
package import Pack
package import Safetensors
package import Storage

/// The files of a model, opened: a pack, or safetensors with what lies beside them. Tells what is stored where; whether it makes a
/// model is ``ModelStore``'s question.
package enum ModelFiles: Sendable {
  case pack(PackFile)
  case checkpoint(Checkpoint)

  /// What was named: each is opened in its own way.
  package enum Kind: String, Sendable {
    case pack = "ingot"
    case safetensors, gguf
    case checkpoint

    /// - Parameter path: of a directory, a file whose name ends in `.safetensors` or `.gguf`, or else a pack.
    package init(of path: String) {
      if let status = SystemCall.status(of: path), status.st_mode & S_IFMT == S_IFDIR {
        self = .checkpoint
      } else {
        let files: [Kind] = [.safetensors, .gguf]
        self = files.first { path.hasSuffix(".\($0.rawValue)") } ?? .pack
      }
    }
  }

  /// Opens what a person names. Of a pack the tables are verified, its chunks are not (``PackCheck`` does that).
  ///
  /// - Parameter companions: where config and tokenizer of a checkpoint lie; nil for beside the weights.
  package init(path: String, companions: String? = nil) throws(ModelError) {
    switch Kind(of: path) {
    case .pack:
      do throws(PackError) {
        let pack = try PackFile(path: path)
        try pack.verifyTables()
        self = .pack(pack)
      } catch { throw .pack(error) }
    case .safetensors, .gguf, .checkpoint:
      do throws(SafetensorsError) { self = .checkpoint(try Checkpoint(path: path, companions: companions)) } catch {
        throw .source(error)
      }
    }
  }

  /// All tensors by the names that they have here, in the order of the tables or files; behind them matrices that are packed in several
  /// tensors. What names mean is not looked at.
  package func tensors() throws(ModelError) -> [StoredTensor] {
    var tensors: [StoredTensor] = []
    switch self {
    case .pack(let pack):
      do throws(PackError) {
        let chunks = try pack.chunks()
        tensors.reserveCapacity(pack.header.tensorCount)
        for index in 0..<pack.header.tensorCount { tensors.append(StoredTensor(try pack.tensor(index), chunks)) }
      } catch { throw .pack(error) }
    case .checkpoint(let checkpoint):
      tensors.reserveCapacity(checkpoint.files.reduce(0) { $0 + $1.tensors.count })
      let packed = PackedCodes.all(of: checkpoint, quantization)
      let parts = Set(packed.flatMap { $0.codes.parts.map(\.entry.name) })
      for (file, shard) in checkpoint.files.enumerated() {
        for entry in shard.tensors where parts.isEmpty || !parts.contains(entry.name) {
          tensors.append(StoredTensor(entry, file: file))
        }
      }
      for matrix in packed { tensors.append(StoredTensor(matrix.codes, file: matrix.file)) }
    }
    return tensors
  }

  /// What is said of quantized weights; nothing where that cannot be read, which opening a model tells.
  var quantization: QuantizationConfiguration {
    guard let config = try? configuration(),
      let reader = try? ConfigurationReader(bytes: config.bytes, path: config.path),
      let found = try? QuantizationConfiguration(reader, beside: self)
    else { return QuantizationConfiguration() }
    return found
  }

  /// The bytes of `config.json`, and what messages call it.
  ///
  /// - Throws: ``ModelError`` where there is none.
  func configuration() throws(ModelError) -> (bytes: [UInt8], path: String) {
    switch self {
    case .pack(let pack):
      do throws(PackError) {
        _ = try pack.object(named: SourceFile.name(inPack: "config.json"))
        return (try pack.file(named: SourceFile.name(inPack: "config.json")), "\(pack.path): config.json")
      } catch { throw .pack(error) }
    case .checkpoint(let checkpoint):
      let path = "\(checkpoint.directory)/config.json"
      do throws(SafetensorsError) { return (try checkpoint.readSmallFile(name: "config.json"), path) } catch {
        guard checkpoint.isGGUF, case .system(let failure) = error.reason, failure.isMissing else {
          throw .source(error)
        }
        throw .configuration(
          key: nil,
          detail:
            "there is none, nor can a GGUF replace it; put that of the checkpoint which the GGUF was made from beside the file, or "
            + "give its directory to `ingot quantize --config DIRECTORY`", path: path, byteOffset: nil)
      }
    }
  }

  /// A file beside the weights, such as `tokenizer.json`; nil when there is none.
  ///
  /// - Parameter name: its path in a checkpoint.
  package func file(named name: String) throws(ModelError) -> [UInt8]? {
    switch self {
    case .pack(let pack):
      do throws(PackError) { return try pack.file(named: SourceFile.name(inPack: name)) } catch {
        if case .notFound = error { return nil }
        throw .pack(error)
      }
    case .checkpoint(let checkpoint):
      do throws(SafetensorsError) { return try checkpoint.readSmallFile(name: name) } catch {
        if case .system(let failure) = error.reason, failure.isMissing { return nil }
        throw .source(error)
      }
    }
  }

  /// The size of the pack, or of all files with tensors.
  package var byteCount: Int {
    switch self {
    case .pack(let pack): pack.header.fileLength
    case .checkpoint(let checkpoint): checkpoint.files.reduce(0) { $0 + $1.file.byteCount }
    }
  }

  /// Refuses what was read where a file was written to meanwhile: some of it may be from before, some from after.
  package func requireUnchanged() throws(ModelError) {
    switch self {
    case .pack(let pack):
      do throws(FileError) { try pack.mapping.requireUnchanged(mayBeReplaced: true) } catch {
        throw .pack(.system(error))
      }
    case .checkpoint(let checkpoint):
      do throws(SafetensorsError) { try checkpoint.requireUnchanged(mayBeReplaced: true) } catch {
        throw .source(error)
      }
    }
  }

  /// Where bytes of tensors lie as they are stored, each place once; to be read ahead.
  package func places(of tensors: [StoredTensor]) -> [SharedBytes] {
    var chunks = 0..<0
    var places: [SharedBytes] = []
    for tensor in tensors {
      switch (self, tensor.place) {
      case (.checkpoint(let checkpoint), .bytes(let file, let range)):
        places.append(SharedBytes(checkpoint.files[file].file, range))
      case (.checkpoint(let checkpoint), .fp8(let file, let range, let scales)):
        places.append(SharedBytes(checkpoint.files[file].file, range))
        places.append(SharedBytes(scales.file.file, scales.entry.byteRange))
      case (.checkpoint, .packed(_, let codes)):
        places += codes.places
      case (.pack(let pack), .chunks(let record)) where record.chunks != chunks:
        chunks = record.chunks  // the tensors of an expert share theirs
        places += chunks.compactMap { index in
          (try? pack.chunk(index)).map { SharedBytes(pack.mapping, $0.byteRange) }
        }
      default: break
      }
    }
    return places
  }
}
