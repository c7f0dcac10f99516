package import Calibration
package import JSON
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors

/// How a pack is made in parts (`Formats/plan.md`): what it will hold, of what, and which of its chunks each part makes.
///
/// Nothing in it depends on the number of parts but ``parts``, and nothing on the machine.
package struct PartPlan: Sendable, Equatable {
  /// A file of weights as it was: enough to tell it again, and to do without it.
  package struct Source: Codable, Sendable, Equatable {
    package let name: String
    package let bytes: Int
    let headerXxh3: String
    /// The JSON of the header, as it lies in the file.
    let header: String
  }

  /// A small file that the pack takes along, by its name in the checkpoint.
  package struct SmallFile: Codable, Sendable, Equatable {
    package let name: String
    let bytes: Int
    let xxh3: String
  }

  /// What decides bytes beside options and sources. A part made by others could differ.
  package struct Versions: Codable, Sendable, Equatable {
    let tool: String
    /// Of the format of packs.
    let pack: Int
    /// Of the library; null without compression.
    let zstd: String?
  }

  /// The states that routed experts are solved with.
  package struct States: Sendable, Equatable {
    package let path: String
    /// Of all layers.
    package let hash: UInt64
    package let document: CalibrationDocument

    package init(path: String, _ file: CalibrationFile) {
      (self.path, hash, document) = (path, file.statesHash, file.document)
    }

    init(path: String, hash: UInt64, document: CalibrationDocument) {
      (self.path, self.hash, self.document) = (path, hash, document)
    }
  }

  /// The pack that comes out.
  package struct Result: Codable, Sendable, Equatable {
    package let tensors: Int
    /// Of tensors; the embedded files come behind.
    package let chunks: Int
    /// Of the whole file; at most, where chunks are compressed.
    package let bytes: Int
  }

  package struct Part: Codable, Sendable, Equatable {
    package let firstChunk: Int
    package let chunks: Int
    /// Names of the tensors that it begins and ends with.
    package let first: String
    package let last: String
    /// Names of the files of weights that it reads.
    package let shards: [String]
    package let sourceBytes: Int
    /// Of the part's file, at most.
    package let outputBytes: Int
    /// Anonymous memory of a run with four threads.
    package let memoryBytes: Int
    /// On one core, estimated.
    package let coreSeconds: Double

    package var range: Range<Int> { firstChunk..<firstChunk + chunks }
  }

  static let schema = "ingot.plan/1"

  /// As it was named.
  package let checkpoint: String
  package let versions: Versions
  package let sources: [Source]
  package let files: [SmallFile]
  /// Recipe and all else that decides what a pack holds.
  package let options: JSONValue
  /// What a target has led to; null without one.
  package let target: JSONValue
  package let states: States?
  package let result: Result
  package let parts: [Part]

  /// - Parameters:
  ///   - checkpoint: as it is named.
  ///   - count: of parts.
  ///   - choice: what a target has led to.
  package init(
    _ plan: ConversionPlan, checkpoint: String, states: States?, choice: PrecisionChoice? = nil, parts count: Int
  ) throws(ConversionError) {
    self.checkpoint = checkpoint
    let compression = plan.options.compression
    versions = Versions(
      tool: plan.options.tool, pack: Int(PackHeader.writerVersion), zstd: compression.libraryVersion)
    sources = plan.checkpoint.files.map { file in
      Source(
        name: file.name, bytes: file.file.byteCount, headerXxh3: XXH3.text(XXH3.hash(file.header)),
        // Nothing stands for a GGUF that is not there.
        header: file.isGGUF ? "" : file.header.extracting(SafetensorsHeader.lengthByteCount...).utf8 ?? "")
    }
    files = plan.pack.files.compactMap { file in
      SourceFile.path(inCheckpoint: file.name).map {
        SmallFile(name: $0, bytes: file.bytes.count, xxh3: XXH3.text(XXH3.hash(file.bytes.bytes)))
      }
    }
    options = Self.json(plan.options)
    target = Self.json(choice, of: plan.options)
    self.states = states
    result = Result(tensors: plan.pack.tensors.count, chunks: plan.pack.chunks.count, bytes: plan.rawByteCount)
    parts = try plan.parts(count)
  }

  private init(
    checkpoint: String, versions: Versions, sources: [Source], files: [SmallFile], options: JSONValue,
    target: JSONValue,
    states: States?, result: Result, parts: [Part]
  ) {
    (self.checkpoint, self.versions, self.sources, self.files) = (checkpoint, versions, sources, files)
    (self.options, self.target, self.states, self.result, self.parts) = (options, target, states, result, parts)
  }

  // MARK: The document

  /// All members but the hash, in their order.
  private var members: [(key: String, value: JSONValue)] {
    [
      ("schema", .string(Self.schema)), ("checkpoint", .string(checkpoint)),
      ("versions", JSONValue(encoding: versions)), ("options", options), ("target", target),
      (
        "calibration",
        states.map {
          ["path": .string($0.path), "states_xxh3": .string(XXH3.text($0.hash)), "document": $0.document.json]
        } ?? .null
      ), ("result", JSONValue(encoding: result)), ("parts", JSONValue(encoding: parts)),
      ("files", JSONValue(encoding: files)), ("sources", JSONValue(encoding: sources)),
    ]
  }

  /// XXH3 of the compact text of all other members.
  package var hash: UInt64 { Self.hash(of: members) }

  private static func hash(of members: [(key: String, value: JSONValue)]) -> UInt64 {
    var object = JSONObject()
    for (key, value) in members { object.append(.init(key: key, value: value)) }
    return XXH3.hash(Array(JSONValue.object(object).text(indented: false).utf8).bytes)
  }

  /// The document, with its hash.
  package var json: JSONValue {
    let members = members
    var object = JSONObject()
    object.append(.init(key: members[0].key, value: members[0].value))
    object.append(.init(key: "hash", value: .string(XXH3.text(Self.hash(of: members)))))
    for (key, value) in members.dropFirst() { object.append(.init(key: key, value: value)) }
    return .object(object)
  }

  /// Reads a plan.
  ///
  /// - Throws: ``PartError`` for a file that cannot be read, is none, or was edited.
  package init(path: String) throws(PartError) {
    let value: JSONValue
    do {
      let file = try MappedFile(path: path)
      value = try JSONParser.parse(file.bytes)
    } catch let error as FileError {
      throw .system(error)
    } catch {
      throw .notPlan(detail: "it is not JSON: \((error as? JSONError)?.reason ?? "")", path: path)
    }
    guard let object = value.object, let schema = object["schema"]?.string, schema.hasPrefix("ingot.plan/") else {
      throw .notPlan(detail: "it has no `schema` of a plan", path: path)
    }
    guard schema == Self.schema else { throw .planSchema(schema, path: path) }
    let others: [(key: String, value: JSONValue)] =
      object.members.filter { $0.key != "hash" }.map { ($0.key, $0.value) }
    guard object["hash"]?.string.flatMap(XXH3.parse) == Self.hash(of: others) else { throw .planEdited(path: path) }
    func member<T: Decodable>(_ key: String, as type: T.Type = T.self) throws(PartError) -> T {
      do throws(JSONTypeError) { return try (object[key] ?? .null).decoded() } catch {
        throw .notPlan(detail: "`\(key)`: \(error.description)", path: path)
      }
    }
    var states: States?
    if let found = object["calibration"], !found.isNull {
      guard let object = found.object, let name = object["path"]?.string,
        let hash = object["states_xxh3"]?.string.flatMap(XXH3.parse),
        let document = object["document"].flatMap(CalibrationDocument.init)
      else { throw .notPlan(detail: "`calibration` is not what it must be", path: path) }
      states = States(path: name, hash: hash, document: document)
    }
    self.init(
      checkpoint: try member("checkpoint"), versions: try member("versions"), sources: try member("sources"),
      files: try member("files"), options: object["options"] ?? .null, target: object["target"] ?? .null,
      states: states,
      result: try member("result"), parts: try member("parts"))
    guard sources.allSatisfy({ Checkpoint.isPlainFileName($0.name) && $0.bytes >= 0 }) else {
      throw .notPlan(detail: "`sources` names a file elsewhere", path: path)
    }
    // Ranges are made of these numbers.
    var next = 0
    for part in parts {
      guard part.firstChunk == next, part.chunks > 0, part.chunks <= result.chunks - next else {
        throw .notPlan(detail: "its parts are not one behind the other", path: path)
      }
      next += part.chunks
    }
    guard next == result.chunks, !parts.isEmpty else { throw .notPlan(detail: "its parts are not all", path: path) }
    if let differing = Self.difference(others, members) {
      throw .notPlan(detail: "`\(differing)` holds what no plan does", path: path)
    }
  }

  /// The first member that is not the same; nil where all are.
  private static func difference(
    _ a: [(key: String, value: JSONValue)], _ b: [(key: String, value: JSONValue)]
  ) -> String? {
    let pair = zip(a, b).first { $0.0.key != $0.1.key || $0.0.value != $0.1.value }
    return pair?.0.key ?? (a.count == b.count ? nil : (a + b).last?.key)
  }

  /// The first member in which another plan differs.
  package func difference(from other: PartPlan) -> String? { Self.difference(members, other.members) }

  /// The first member in which another plan would make another pack, as far as that is known before a target has been looked at.
  func differentPremise(from other: PartPlan) -> String? { Self.difference(premise, other.premise) }

  /// What is likeliest to be different comes first.
  private var premise: [(key: String, value: JSONValue)] {
    // Where the same states lie is nothing to the pack.
    let calibration: JSONValue =
      states.map { ["states_xxh3": .string(XXH3.text($0.hash)), "document": $0.document.json] } ?? .null
    return [("options", options), ("calibration", calibration)]
      + members.filter { ["versions", "files", "sources"].contains($0.key) }
  }
}
