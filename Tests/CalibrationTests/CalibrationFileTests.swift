import Calibration
import Kernels
import Models
import Pack
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct CalibrationFileTests {
  @Test("a file gives back what the pass gave, on any number of threads", arguments: [1, 2, 7])
  func roundTrip(threads: Int) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/states"
      let model = try pico(threads: threads)
      let copies = picoCopies()
      try writeStates(model, copies, to: path)
      #expect(CalibrationFile.isCalibration(path))
      let file = try CalibrationFile(path: path)
      #expect(file.document == document(model, copies))
      #expect(file.byteCount == CalibrationWriter.byteCount(file.document))
      let live = try layers(LiveStates(document(model, copies), model, copies))
      let one = try pico(threads: 1)
      let alone = try layers(LiveStates(document(one, copies), one, copies))
      for (index, states) in try layers(file).enumerated() {
        for other in [live[index], alone[index]] {
          #expect(states.hash == other.hash)
          #expect(states.states.bytes.array == other.states.bytes.array)
          #expect(states.experts == other.experts && states.weights == other.weights)
          #expect(states.classes == copies.classes)
        }
      }
      let coverage = file.coverage()
      #expect(coverage.map(\.layer) == [1, 2, 3])
      for (index, layer) in coverage.enumerated() {
        #expect(layer.tokens == live[index].users(expertCount: 16).map(\.count))
        #expect(layer.tokens.reduce(0, +) == 4 * copies.rowCount && layer.columns == 128)
      }
    }
  }

  @Test("damage is refused, wherever it is")
  func damage() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/states"
      try writeStates(try pico(), picoCopies([someTexts()[2]]), to: path)
      let whole = try contents(of: path)
      func isRefused(_ bytes: [UInt8]) throws -> Bool {
        try write(bytes, to: path)
        do {
          _ = try layers(CalibrationFile(path: path))
          return false
        } catch is StateError { return true }
      }
      #expect(try !isRefused(whole))
      var random = SeededRandom(seed: 3)
      for _ in 0..<300 {
        var bytes = whole
        let place = Int.random(in: 0..<bytes.count, using: &random)
        bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        #expect(try isRefused(bytes), "byte \(place)")
      }
      for count in [0, 7, 100, whole.count / 2, whole.count - 1] {
        #expect(try isRefused(Array(whole[..<count])), "\(count) bytes")
      }
      #expect(try isRefused(whole + [0]))
    }
  }

  @Test("a pass that is stopped leaves nothing, and says so")
  func stopping() throws {
    try withTemporaryDirectory { directory in
      let model = try pico()
      let copies = picoCopies()
      for last in 0..<4 {
        var seen = 0
        let writer = try CalibrationWriter(document(model, copies), copies, to: directory + "/s", replaces: true)
        #expect(throws: StateError.interrupted) {
          try StatePass(model, copies).run(
            add: { _ in true },
            finished: { _ in
              seen += 1
              return seen < last
            }, progress: { _ in true })
        }
        _ = writer
      }
      #expect(listing(of: directory).isEmpty)
    }
  }

  @Test("a state that is not finite has a place")
  func notFinite() throws {
    // A weight of the dense layer that is not finite reaches every position.
    let bad = try Trained.withVariant(of: "pico", files: try Self.damagedShards()) { directory -> StateError? in
      let model = try TransformerModel(StoredWeights(path: directory, cacheBudget: 0), compute: Compute(threads: 1))
      let copies = picoCopies([someTexts()[3]])
      do throws(StateError) {
        try LiveStates(document(model, copies), model, copies).forEachLayer { _ in true }
        return nil
      } catch { return error }
    }
    #expect(bad == .notFinite(layer: 1, text: 0, position: 0))
  }

  /// The shard that holds the first layer's dense matrix, with one of its numbers a NaN.
  private static func damagedShards() throws -> [String: [UInt8]] {
    let name = "model.layers.0.mlp.down_proj.weight"
    for file in try Checkpoint(directory: Trained.checkpoint("pico")).files {
      guard let entry = file[name] else { continue }
      var bytes = try contents(of: file.path)
      // Of the whole first row, so that an output is no number whatever the input is.
      for place in stride(from: entry.byteRange.lowerBound, to: entry.byteRange.lowerBound + 2 * 384, by: 2) {
        (bytes[place], bytes[place + 1]) = (0xC0, 0x7F)
      }
      return [file.name: bytes]
    }
    throw TestFailure("no \(name)")
  }

  @Test(
    "sizes that no file can hold are refused, whatever the hashes say",
    arguments: [
      ("layers", 1 << 50), ("layers", 1 << 11), ("hidden", 1 << 40), ("hidden", 1 << 24), ("experts", 1 << 40),
      ("rows", 1 << 39), ("rows", 1 << 31), ("rows", (1 << 31) - 1), ("layers", 4),
    ])
  func sizes(key: String, value: Int) throws {
    var sizes = ["layers": 4, "first_dense": 1, "hidden": 1 << 20, "experts": 8, "slots": 2, "rows": 100]
    sizes[key] = value
    func size(_ key: String) -> String { "\"\(key)\":\(sizes[key] ?? 0)" }
    let none = "0000000000000000"
    let text =
      #"{"schema":"ingot.calibration/1","model":{"type":"llada2_moe","hash":"\#(none)"},"sizes":{"#
      + ["layers", "first_dense", "hidden", "experts", "slots"].map(size).joined(separator: ",")
      + #"},"options":{"edits":false,"block_length":32,"mask":3,"mask_ratios":[0.25,0.5,0.75,1],"seed":0},"#
      + #""data":{"hash":"\#(none)","texts":1,\#(size("rows")),"sources":[]}}"#
    let bytes = Array(text.utf8)
    let shape = try #require(Shape([bytes.count]))
    let header = SafetensorsHeader.build(
      tensors: [TensorDescription(name: "document", dtype: .u8, shape: shape)],
      metadata: [
        ("ingot.calibration", "1"), ("ingot.document_xxh3", XXH3.text(unsafe XXH3.hash(bytes.span.bytes))),
        ("ingot.layers_xxh3", ""),
      ])
    try withTemporaryDirectory { directory in
      try write(header + bytes, to: directory + "/states")
      #expect {
        _ = try CalibrationFile(path: directory + "/states")
      } throws: { error in
        if case .broken? = error as? StateError { true } else { false }
      }
    }
  }
}
