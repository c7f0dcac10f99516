import Glibc
package import JSON
package import Models
package import Pack
package import Safetensors
import Storage
import Tensors

/// A pack, a safetensors file or a checkpoint directory, seen as a list of tensors. Reads headers, tables and small files,
/// no weights.
package struct InspectedModel: Sendable {
  package enum Store: Sendable {
    case pack(PackFile)
    case checkpoint(Checkpoint)
  }
  /// What was named: each is opened in its own way.
  package enum Kind: String, Sendable {
    case pack = "ingot"
    case safetensors
    case checkpoint
  }
  /// A small file in a pack.
  package struct EmbeddedFile: Sendable {
    package let name: String
    package let chunk: Int
    package let byteCount: Int
    package let contentHash: UInt64
  }

  package let path: String
  package let kind: Kind
  package let store: Store
  /// Sorted by the bytes of their names.
  package let tensors: [InspectedTensor]
  /// Of a pack, in the order of the file; else empty.
  package let chunks: [ChunkRecord]
  /// Of a pack, sorted by name; else empty.
  package let files: [EmbeddedFile]
  package let description: ModelDescription
  /// `provenance.json` of a pack.
  package let provenance: JSONValue?
  /// Of a pack, its header without the drift report: what names the model, whether it was measured or not.
  package let headerWithoutReport: PackHeader?
  /// `drift-report.json` of a pack.
  package let report: AttachedReport?

  /// Opens what a person names: a directory, a file whose name ends in `.safetensors`, or else a pack, whose tables are
  /// verified.
  package init(path: String) throws(InspectionError) {
    switch Self.kind(of: path) {
    case .pack:
      do throws(PackError) { try self.init(pack: PackFile(path: path)) } catch { throw .pack(error) }
    case .safetensors:
      do throws(SafetensorsError) { try self.init(Checkpoint(file: path), path: path, .safetensors) } catch {
        throw .source(error)
      }
    case .checkpoint:
      do throws(SafetensorsError) { try self.init(Checkpoint(directory: path), path: path, .checkpoint) } catch {
        throw .source(error)
      }
    }
  }

  /// Looks at what is open already, so that each of its files is open once.
  package init(_ weights: any WeightSource) throws(InspectionError) {
    switch weights {
    case let weights as CheckpointWeights:
      do throws(SafetensorsError) { try self.init(weights.checkpoint, path: weights.path, .checkpoint) } catch {
        throw .source(error)
      }
    case let weights as PackWeights:
      do throws(PackError) { try self.init(pack: weights.pack) } catch { throw .pack(error) }
    default: try self.init(path: weights.path)
    }
  }

  package static func kind(of path: String) -> Kind {
    if let status = SystemCall.status(of: path), status.st_mode & S_IFMT == S_IFDIR { return .checkpoint }
    return path.hasSuffix(".safetensors") ? .safetensors : .pack
  }

  private init(pack: PackFile) throws(PackError) {
    try pack.verifyTables()
    path = pack.path
    kind = .pack
    store = .pack(pack)
    var chunks: [ChunkRecord] = []
    for index in 0..<pack.header.chunkCount { chunks.append(try pack.chunk(index)) }
    var tensors: [InspectedTensor] = []
    tensors.reserveCapacity(pack.header.tensorCount)
    for index in 0..<pack.header.tensorCount { tensors.append(InspectedTensor(try pack.tensor(index), chunks)) }
    files = try pack.files.map { file in
      let chunk = chunks[file.chunk]
      return EmbeddedFile(
        name: file.name, chunk: file.chunk, byteCount: chunk.contentLength, contentHash: chunk.contentHash)
    }
    provenance = .object(try pack.object(named: "provenance.json"))
    _ = try pack.object(named: "source/config.json")
    description = ModelDescription(
      config: try pack.file(named: "source/config.json"), path: "\(pack.path), file source/config.json")
    let own = try pack.headerWithoutReport
    headerWithoutReport = own
    report = AttachedReport(pack, files: files, rootHash: own.rootHash)
    self.chunks = chunks
    self.tensors = tensors
  }

  private init(_ checkpoint: Checkpoint, path: String, _ kind: Kind) throws(SafetensorsError) {
    self.path = path
    self.kind = kind
    store = .checkpoint(checkpoint)
    var tensors: [InspectedTensor] = []
    for (file, shard) in checkpoint.files.enumerated() {
      for entry in shard.tensors { tensors.append(InspectedTensor(entry, file: file)) }
    }
    self.tensors = tensors.sorted { $0.name.utf8Precedes($1.name) }
    chunks = []
    files = []
    provenance = nil
    headerWithoutReport = nil
    report = nil
    var config: [UInt8]?
    do throws(SafetensorsError) { config = try checkpoint.readSmallFile(name: "config.json") } catch {
      guard case .system(let cause) = error.reason, cause.isMissing else { throw error }
    }
    description = ModelDescription(config: config, path: "\(checkpoint.directory)/config.json")
  }

  /// What a person should know of the files.
  package var notes: [SourceNote] {
    var notes: [SourceNote] = []
    if let json = description.json {
      _ = try? ModelConfiguration(json: json, path: path) { notes.append($0) }
    }
    if case .checkpoint(let checkpoint) = store, kind == .checkpoint { notes += SourceNote.files(of: checkpoint) }
    return notes
  }

  /// Of the pack, or of all files with tensors.
  package var fileByteCount: Int {
    switch store {
    case .pack(let pack): pack.header.fileLength
    case .checkpoint(let checkpoint): checkpoint.files.reduce(0) { $0 + $1.file.byteCount }
    }
  }

  /// Refuses what was read where a file was written to meanwhile: some of it may be from before, some from after.
  package func requireUnchanged() throws(InspectionError) {
    switch store {
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

  package var shards: [SafetensorsFile] {
    if case .checkpoint(let checkpoint) = store { checkpoint.files } else { [] }
  }

  package var header: PackHeader? { if case .pack(let pack) = store { pack.header } else { nil } }

  /// The checkpoint by the names that published checkpoints have, whatever its layout; nil for a pack, and for a
  /// checkpoint that is no model we know.
  package var published: (layout: ExpertLayout?, tensors: [InspectedTensor])? {
    guard case .checkpoint(let checkpoint) = store, description.isSupported, let bytes = description.json,
      let configuration = try? ModelConfiguration(json: bytes, path: path),
      let model = try? CheckpointModel(checkpoint, configuration: configuration)
    else { return nil }
    let tensors = model.items.flatMap { $0.sources.map { InspectedTensor($0) } }
    return (model.layout, tensors.sorted { $0.name.utf8Precedes($1.name) })
  }

  /// One projection of an expert, or another tensor by what it is.
  package func tensor(_ id: TensorID) throws(InspectionError) -> InspectedTensor {
    if let found = tensors.first(where: { $0.id == id }) ?? published?.tensors.first(where: { $0.id == id }) {
      return found
    }
    throw .noTensor(Architectures.name(of: id), path: path)
  }

  /// The tensor of a name, of the file itself or of the published layout.
  package func tensor(named name: String) throws(InspectionError) -> InspectedTensor {
    if let found = tensors.first(where: { $0.name == name }) { return found }
    if let found = published?.tensors.first(where: { $0.name == name }) { return found }
    throw .noTensor(name, path: path)
  }
}

extension InspectedTensor {
  fileprivate init(_ record: TensorRecord, _ chunks: [ChunkRecord]) {
    name = record.name
    shape = record.shape
    id = Architectures.identify(record.name)
    place = .chunks(record)
    if let encoding = record.encoding {
      type = .encoding(encoding)
      byteCount = encoding.byteCount(elements: record.shape.elementCount, columns: record.shape.columns)
    } else {
      type = .unknown(id: record.encodingID, groupSize: record.groupSize)
      let own = chunks[record.chunks]
      byteCount = own.contains { $0.kind == .expert } ? nil : own.reduce(0) { $0 + $1.contentLength }
    }
  }

  fileprivate init(_ entry: TensorEntry, file: Int) {
    name = entry.name
    shape = entry.shape
    type = StoredType(entry.dtype)
    id = Architectures.identify(entry.name)
    byteCount = entry.byteRange.count
    place = .bytes(file: file, entry.byteRange)
  }

  fileprivate init(_ source: CheckpointModel.Source) {
    name = source.tensor.name
    shape = source.tensor.shape
    type = StoredType(source.dtype)
    id = source.tensor.id
    byteCount = source.byteRange.count
    place = .bytes(file: source.file, source.byteRange)
  }
}
