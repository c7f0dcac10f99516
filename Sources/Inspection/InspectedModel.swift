package import JSON
package import Models
package import Pack
package import Safetensors

/// A pack, a safetensors file or a checkpoint directory, seen as a list of tensors. Reads headers, tables and small files,
/// no weights.
package struct InspectedModel: Sendable {
  /// A small file in a pack.
  package struct EmbeddedFile: Sendable {
    package let name: String
    package let chunk: Int
    package let byteCount: Int
    package let contentHash: UInt64
  }

  package let path: String
  package let kind: ModelFiles.Kind
  package let store: ModelFiles
  /// Sorted by the bytes of their names.
  package let tensors: [StoredTensor]
  /// The chunks of a pack, in the order of the file; else empty.
  package let chunks: [ChunkRecord]
  /// The files of a pack, sorted by name; else empty.
  package let files: [EmbeddedFile]
  package let description: ModelDescription
  /// Nil where `config.json` is not there or names none that is known.
  private let family: (any Architecture.Type)?
  /// `provenance.json` of a pack.
  package let provenance: JSONValue?
  /// The header of a pack without the drift report: what names the model, whether it was measured or not.
  package let headerWithoutReport: PackHeader?
  /// `drift-report.json` of a pack.
  package let report: AttachedReport?

  /// Opens what a person names: a directory, a file whose name ends in `.safetensors`, or else a pack, whose tables are
  /// verified.
  package init(path: String) throws(InspectionError) {
    do throws(ModelError) { try self.init(ModelFiles(path: path), path: path) } catch { throw InspectionError(error) }
  }

  /// Looks at what is open already, so that each of its files is open once.
  package init(_ weights: any WeightSource) throws(InspectionError) {
    do throws(ModelError) {
      let files: ModelFiles
      if let stored = weights as? StoredWeights {
        files = stored.store.files
      } else {
        files = try .init(path: weights.path)
      }
      try self.init(files, path: weights.path)
    } catch { throw InspectionError(error) }
  }

  private init(_ store: ModelFiles, path: String) throws(ModelError) {
    self.path = path
    self.store = store
    kind = ModelFiles.Kind(of: path)
    var tensors = try store.tensors()
    if case .checkpoint = store { tensors.sort { $0.name.utf8Precedes($1.name) } }
    switch store {
    case .pack(let pack):
      do throws(PackError) {
        let chunks = try pack.chunks()
        self.chunks = chunks
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
      } catch { throw .pack(error) }
    case .checkpoint(let checkpoint):
      (chunks, files, provenance, headerWithoutReport, report) = ([], [], nil, nil, nil)
      description = ModelDescription(
        config: try store.file(named: "config.json"), path: "\(checkpoint.directory)/config.json")
    }
    family = Architectures.family(of: description.modelType) { name in tensors.contains { $0.name == name } }
    for index in tensors.indices { tensors[index].identify(in: family, further: description.furtherLayers) }
    self.tensors = tensors
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

  /// The size of the pack, or of all files with tensors.
  package var fileByteCount: Int { store.byteCount }

  /// Refuses what was read where a file was written to meanwhile: some of it may be from before, some from after.
  package func requireUnchanged() throws(InspectionError) {
    do throws(ModelError) { try store.requireUnchanged() } catch { throw InspectionError(error) }
  }

  package var shards: [SafetensorsFile] {
    if case .checkpoint(let checkpoint) = store { checkpoint.files } else { [] }
  }

  /// Whether the weights are of GGUF files.
  package var isGGUF: Bool { if case .checkpoint(let checkpoint) = store { checkpoint.isGGUF } else { false } }

  package var header: PackHeader? { if case .pack(let pack) = store { pack.header } else { nil } }

  /// The checkpoint by the names that published checkpoints have, whatever its layout; nil for a pack, and for a
  /// checkpoint that is no model we know.
  package var published: (layout: ExpertLayout?, tensors: [StoredTensor])? {
    guard case .checkpoint = store, description.isSupported, let model = try? ModelStore(store, path: path) else {
      return nil
    }
    return (model.layout, model.tensors.sorted { $0.name.utf8Precedes($1.name) })
  }

  /// One projection of an expert, or another tensor by what it is.
  package func tensor(_ id: TensorID) throws(InspectionError) -> StoredTensor {
    if let found = tensor(where: { $0.id == id }) { return found }
    throw .noTensor(family?.names.name(of: id) ?? Architectures.name(of: id), path: path)
  }

  /// The tensor of a name, of the file itself or of the published layout.
  package func tensor(named name: String) throws(InspectionError) -> StoredTensor {
    if let found = tensor(where: { $0.name == name }) { return found }
    throw .noTensor(name, path: path)
  }

  /// As it is stored where that can be decoded, or else as the model reads it: FP8 with its scales, a part of a stack.
  private func tensor(where isWanted: (StoredTensor) -> Bool) -> StoredTensor? {
    let stored = tensors.first(where: isWanted)
    if let stored, stored.type.encoding != nil { return stored }
    return published?.tensors.first(where: isWanted) ?? stored
  }
}
