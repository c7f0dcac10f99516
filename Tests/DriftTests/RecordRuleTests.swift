import Drift
import JSON
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// Records whose hashes are right and whose contents are not.
@Suite struct RecordRuleTests {
  private func problem(_ parts: RecordParts, at path: String) throws -> RecordError? {
    try parts.write(to: path)
    do throws(RecordError) { _ = try DriftRecord(path: path) } catch { return error }
    return nil
  }

  private func withParts(_ body: (RecordParts, String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      try RecordSamples.record(vocabulary: 5000).write(to: directory + "/a", replaces: true, tool: "1")
      try body(try RecordParts(path: directory + "/a"), directory + "/b")
    }
  }

  private func expectBroken(_ parts: RecordParts, _ words: String, at path: String) throws {
    guard case .broken(let detail, path)? = try problem(parts, at: path), detail.contains(words) else {
      Issue.record("\(words): \(String(describing: try problem(parts, at: path)))")
      return
    }
  }

  @Test func aFieldThatIsMissingOrOfAnotherKindIsNamed() throws {
    try withParts { parts, path in
      var count = 0
      for keys in fields(of: parts.document) where !keys.contains("section") || keys.last == "section" {
        // Null without block routing, and so may be missing.
        if keys.first == "computation", ["expert_capacity", "block_size"].contains(keys.last) { continue }
        let value = found(parts.document, keys)
        // A text would do where there is none yet.
        let other: JSONValue = value?.string == nil && value != .null ? "x" : true
        for replacement in [nil, other] {
          var damaged = parts
          damaged.document = changed(parts.document, keys[...], to: replacement)
          try expectBroken(damaged, keys.last ?? "", at: path)
          count += 1
        }
      }
      #expect(count > 120)
    }
  }

  @Test(
    "values that make no sense",
    arguments: [
      (["schema"], "ingot.drift-record/3", "schema"), (["holds"], [], "holds"), (["holds"], ["tasks"], "holds"),
      (["holds"], ["masked"], "outputs"), (["reference", "kind"], "record", "kind"),
      (["tokenizer"], "12", "tokenizer"), (["sizes", "vocabulary"], 39, "mask"),
      (["sizes", "experts"], 1, "experts"), (["sizes", "layers"], 2, "routes.2"),
      (["options", "mask_ratios"], [0], "mask_ratios"), (["options", "mask_ratios"], [], "mask_ratios"),
      (["options", "stops"], [], "stops"), (["options", "block_length"], 0, "block_length"),
      (["options", "block_length"], 5, "maskable"), (["options", "seed"], 1, "masked.places"),
      (["texts", "list"], [], "pairs"), (["pairs"], [[0, 3]], "pairs"), (["pairs"], [[0]], "pairs"),
      (["outputs"], [], "outputs"), (["floor", "layers"], [[1]], "layers"),
      (["floor", "layers"], [[1, 0], [1, 1]], "layers"),
    ] as [([String], JSONValue, String)])
  func values(keys: [String], value: JSONValue, words: String) throws {
    try withParts { parts, path in
      var damaged = parts
      damaged.document = changed(parts.document, keys[...], to: value)
      try expectBroken(damaged, words, at: path)
    }
  }

  @Test func tensorsMustBeThoseOfTheDocument() throws {
    try withParts { parts, path in
      for index in parts.tensors.indices {
        let (description, bytes) = parts.tensors[index]
        let name = description.name
        var damaged = parts
        damaged.tensors.remove(at: index)
        // Without its experts a layer has no routes, and their weights no place.
        try expectBroken(damaged, name.replacing(".experts", with: ".weights"), at: path)
        damaged = parts
        damaged.tensors[index].description = TensorDescription(
          name: name, dtype: description.dtype, shape: try #require(Shape([1] + description.shape.dimensions)))
        #expect(try problem(damaged, at: path) != nil, "\(name)")
        damaged = parts
        damaged.tensors[index].bytes = Array(repeating: 0xFF, count: bytes.count)
        try expectBroken(damaged, "masked.places".hasPrefix(name) ? "places" : name, at: path)
      }
      var elsewhere = parts
      let places = try #require(parts.tensors.firstIndex { $0.description.name == "masked.places" })
      elsewhere.tensors[places].bytes = Array(repeating: 0, count: parts.tensors[places].bytes.count)
      try expectBroken(elsewhere, "masks drawn", at: path)
      var more = parts
      let stranger = TensorDescription(name: "masked.other", dtype: .u8, shape: try #require(Shape([1])))
      more.tensors.append((stranger, [0]))
      try expectBroken(more, "masked.other", at: path)
    }
  }

  @Test func randomChangesNeverCrash() throws {
    try withParts { parts, path in
      var random = SeededRandom(seed: 11)
      let all = fields(of: parts.document)
      let strange: [JSONValue] = [
        .null, true, "x", 0, -1, 1, 3, JSONValue(Int.max), JSONValue(Int.min), .number("1e400"), .number("0.5"), [],
        [0, 9],
        [[0, 1], [2, 3]], [:],
      ]
      for _ in 0..<400 {
        var damaged = parts
        for _ in 0...(random.next() % 3) {
          let keys = all[Int(random.next() % UInt64(all.count))]
          let value = strange[Int(random.next() % UInt64(strange.count))]
          damaged.document = changed(damaged.document, keys[...], to: value)
        }
        _ = try problem(damaged, at: path)
      }
    }
  }

  // MARK: Trees

  /// Paths of all members; elements of arrays by their numbers, of long ones only the first.
  private func fields(of value: JSONValue) -> [[String]] {
    switch value {
    case .object(let object):
      object.members.flatMap { member in [[member.key]] + fields(of: member.value).map { [member.key] + $0 } }
    case .array(let array) where array.first?.object != nil:
      fields(of: array[0]).map { ["0"] + $0 }
    default: []
    }
  }

  private func found(_ value: JSONValue, _ keys: [String]) -> JSONValue? {
    keys.reduce(value) { value, key in Int(key).map { value?.array?[$0] } ?? value?.object?[key] }
  }

  /// - Parameter replacement: nil removes the member.
  private func changed(_ value: JSONValue, _ keys: ArraySlice<String>, to replacement: JSONValue?) -> JSONValue {
    guard let key = keys.first else { return replacement ?? .null }
    let rest = keys.dropFirst()
    if var array = value.array, let index = Int(key), array.indices.contains(index) {
      array[index] = changed(array[index], rest, to: replacement)
      return .array(array)
    }
    guard let object = value.object else { return value }
    var result = JSONObject()
    for member in object.members {
      if member.key != key {
        result.append(member)
      } else if !rest.isEmpty || replacement != nil {
        result.append(.init(key: key, value: changed(member.value, rest, to: replacement)))
      }
    }
    return .object(result)
  }
}
