package import JSON
import Models
import Pack
import Safetensors

/// What two models say of themselves, compared.
package struct MetadataDiff: Sendable, Equatable {
  /// A key with two values; nil where one side lacks it.
  package struct Value: Sendable, Equatable {
    package let key: String
    package let first: JSONValue?
    package let second: JSONValue?
  }

  /// Keys of `config.json`, sorted.
  package let config: [Value]
  /// Keys of the provenance, sorted; empty unless both are packs.
  package let provenance: [Value]
  /// Names of small files that differ or are on one side only, sorted. Of a checkpoint those that a pack would take along; config
  /// and provenance are compared above, and a drift report is none of the model.
  package let files: [String]

  package var isSame: Bool { config.isEmpty && provenance.isEmpty && files.isEmpty }

  /// - Throws: ``InspectionError/pack(_:)`` where a file in a pack is not what its hash says.
  init(_ first: InspectedModel, _ second: InspectedModel) throws(InspectionError) {
    config = Self.compare(first.description, second.description)
    let arePacks = first.kind == .pack && second.kind == .pack
    provenance = arePacks ? Self.compare(first.provenance?.object, second.provenance?.object) : []
    // A checkpoint holds no report, so that one of a pack is no difference to it.
    let compared = ["source/config.json", "provenance.json"] + (arePacks ? [] : [FileRecord.driftReport])
    var names = Set((first.files + second.files).map(\.name))
    // A file on its own is no model: what lies beside it need not belong to it.
    if first.kind != .safetensors, second.kind != .safetensors {
      names.formUnion(SourceFile.companions.map(SourceFile.name(inPack:)))
    }
    names.subtract(compared)
    var files: [String] = []
    for name in names.sorted() {
      let (a, b) = (try Self.fingerprint(name, first), try Self.fingerprint(name, second))
      if a != b { files.append(name) }
    }
    self.files = files
  }

  private static func compare(_ a: ModelDescription, _ b: ModelDescription) -> [Value] {
    guard a.isUnreadable || b.isUnreadable else { return compare(a.config, b.config) }
    // What cannot be read is not the same as anything.
    let whole = [a, b].map { side -> JSONValue? in
      side.isUnreadable ? "no JSON object" : side.config.map { .object($0) }
    }
    return [Value(key: "(all)", first: whole[0], second: whole[1])]
  }

  private static func compare(_ a: JSONObject?, _ b: JSONObject?) -> [Value] {
    guard a != nil, b != nil else {
      // A shard on its own has no configuration: one difference, not one for each key.
      let whole = Value(key: "(all)", first: a.map { .object($0) }, second: b.map { .object($0) })
      return a == nil && b == nil ? [] : [whole]
    }
    let keys = Set((a?.members ?? []).map(\.key) + (b?.members ?? []).map(\.key)).sorted()
    return keys.compactMap { key in
      let (first, second) = (a?[key], b?[key])
      return first == second ? nil : Value(key: key, first: first, second: second)
    }
  }

  /// The hash of a small file's bytes, `source/NAME` being the file NAME of a checkpoint; nil where there is none.
  private static func fingerprint(_ name: String, _ model: InspectedModel) throws(InspectionError) -> UInt64? {
    switch model.store {
    case .pack(let pack):
      guard let file = model.files.first(where: { $0.name == name }) else { return nil }
      do throws(PackError) { _ = try pack.content(ofChunk: file.chunk, codec: ChunkCodec(), verified: true) } catch {
        throw .pack(error)
      }
      return file.contentHash
    case .checkpoint:
      // A pack leaves out what is empty.
      guard let path = SourceFile.path(inCheckpoint: name) else { return nil }
      do throws(ModelError) {
        guard let bytes = try model.store.file(named: path), !bytes.isEmpty else { return nil }
        return XXH3.hash(unsafe bytes.span.bytes)
      } catch { throw InspectionError(error) }
    }
  }
}
