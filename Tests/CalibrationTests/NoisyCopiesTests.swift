import Calibration
import Kernels
import Models
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct NoisyCopiesTests {
  @Test("every text has noisy copies of the blocks that may be masked, and a clean one")
  func rows() {
    let copies = picoCopies()
    var expected: [[Int32]] = []
    for (text, noisy, count) in [(0, 32..<70, 70), (1, 0..<64, 64), (2, 0..<33, 33), (3, 0..<40, 40)] {
      for copy in 0..<4 { expected += noisy.map { [Int32(text), Int32(copy), Int32($0)] } }
      expected += (0..<count).map { [Int32(text), 4, Int32($0)] }
    }
    #expect(copies.places == expected.flatMap { $0 })
    #expect(copies.rowCount == expected.count)
    for (row, place) in expected.enumerated() {
      let text = copies.texts[Int(place[0])]
      let own = Int32(text.tokens[Int(place[2])])
      let isMasked = copies.classes[row] == StateClass.masked.rawValue
      #expect(copies.tokens[row] == (isMasked ? 639 : own))
      #expect((copies.classes[row] == StateClass.clean.rawValue) == (place[1] == 4))
      if place[1] == 3 { #expect(isMasked == text.maskable.contains(Int(place[2]))) }
      if !text.maskable.contains(Int(place[2])) { #expect(!isMasked) }
    }
  }

  @Test("masks come at their ratios, and from the seed alone")
  func masks() {
    let text = CalibrationText(tokens: Array(repeating: 1, count: 8192), maskable: 0..<8192)
    let copies = NoisyCopies([text], blockLength: 32, mask: 2, seed: 1)
    for (copy, ratio) in NoisyCopies.maskRatios.enumerated() {
      let masked = copies.classes[copy * 8192..<(copy + 1) * 8192].count { $0 == StateClass.masked.rawValue }
      // Four standard deviations.
      #expect(abs(Double(masked) - ratio * 8192) <= 4 * (8192 * ratio * (1 - ratio)).squareRoot())
    }
    #expect(copies.tokens == NoisyCopies([text], blockLength: 32, mask: 2, seed: 1).tokens)
    #expect(copies.tokens != NoisyCopies([text], blockLength: 32, mask: 2, seed: 2).tokens)
    // Other blocks change nothing.
    #expect(copies.tokens == NoisyCopies([text], blockLength: 64, mask: 2, seed: 1).tokens)
  }

  @Test("for a model that predicts the next token there is the clean copy, all of which counts")
  func nextToken() throws {
    #expect(NoisyCopies.ratios(for: .masked) == NoisyCopies.maskRatios && NoisyCopies.ratios(for: .next).isEmpty)
    let model = try TransformerModel(StoredWeights(path: Trained.checkpoint("ling")), compute: Compute(threads: 1))
    let texts = someTexts()
    let copies = NoisyCopies(texts, blockLength: 1, mask: -1, seed: 1, ratios: [])
    #expect(copies.tokens == texts.flatMap { $0.tokens.map(Int32.init) })
    #expect(copies.classes.allSatisfy { $0 == StateClass.masked.rawValue })
    let source = CalibrationMix.Source(name: "a", texts: texts)
    let mix = CalibrationMix([source], rows: 1 << 20, blockLength: 1, seed: 0, ratios: [])
    #expect(mix.rowCount == copies.rowCount)
    let document = document(model, copies)
    #expect(CalibrationDocument(document.json) == document)

    // What a pass over the text alone feeds the experts.
    let states = try layers(LiveStates(document, model, copies))
    let width = model.configuration.hiddenSize
    var inputs: [Int: [Float]] = [:]
    var taps = TransformerModel.Taps()
    taps.inputs = { id, x in if id.role == .router, let layer = id.layer { inputs[layer] = x } }
    let last = texts[texts.count - 1].tokens
    let segment = TransformerModel.Segment(tokens: last, start: 0, cache: KeyValueCache(model.configuration))
    _ = try model.hiddenStates([segment], blockLength: 1, taps: taps)
    for layer in states {
      let x = try #require(inputs[layer.layer])
      for index in x.indices {
        let bits: UInt16 = layer.states.bytes.integer(at: 2 * ((copies.rowCount - last.count) * width + index))
        #expect(abs(BFloat16.widen(bits) - x[index]) <= 0x1p-8 * abs(x[index]) + 2e-5)
      }
    }
  }

  @Test("tiles hold each row once, and do not depend on anything but the texts", arguments: [1, 200, 600, 1 << 20])
  func tiles(limit: Int) throws {
    let model = try pico()
    let copies = picoCopies()
    let tiles = copies.tiles(model.configuration, rowLimit: limit)
    #expect(tiles.count == [1: 4, 200: 4, 600: 2, 1 << 20: 1][limit])
    #expect(tiles.flatMap { Array($0.rows) } == Array(0..<copies.rowCount))
    for tile in tiles {
      #expect(tile.order.sorted() == Array(0..<tile.rows.count))
      let tokens = tile.segments.flatMap(\.tokens)
      #expect(tokens == tile.order.map { Int(copies.tokens[tile.rows.lowerBound + $0]) })
    }
  }

  @Test("a noisy block sees itself and the clean blocks before it, as a decoder's forward pass does")
  func states() throws {
    let model = try pico()
    let copies = picoCopies()
    let all = try layers(LiveStates(document(model, copies), model, copies))
    #expect(all.map(\.layer) == [1, 2, 3])
    let width = model.configuration.hiddenSize
    for (text, copy, block) in [(0, 0, 1), (0, 2, 2), (1, 3, 1), (3, 1, 0), (2, 4, 0)] {
      // The window of the decoder: what is finished, and the block.
      let end = min(copies.texts[text].tokens.count, 32 * (block + 1))
      var tokens = Array(copies.texts[text].tokens[..<end])
      var rows: [Int: Int] = [:]  // by position
      for row in 0..<copies.rowCount
      where copies.places[3 * row..<3 * row + 2].elementsEqual([Int32(text), Int32(copy)]) {
        let position = Int(copies.places[3 * row + 2])
        guard (32 * block..<end).contains(position) else { continue }
        tokens[position] = Int(copies.tokens[row])
        rows[position] = row
      }
      #expect(rows.count == end - 32 * block)
      var inputs: [Int: [Float]] = [:]
      var taps = TransformerModel.Taps()
      taps.inputs = { id, x in if id.role == .router, let layer = id.layer { inputs[layer] = x } }
      let segment = TransformerModel.Segment(tokens: tokens, start: 0, cache: KeyValueCache(model.configuration))
      _ = try model.hiddenStates([segment], blockLength: 32, taps: taps)
      for states in all {
        let x = try #require(inputs[states.layer])
        for (position, row) in rows {
          for channel in 0..<width {
            let bits: UInt16 = states.states.bytes.integer(at: 2 * (row * width + channel))
            let wanted = x[position * width + channel]
            #expect(abs(BFloat16.widen(bits) - wanted) <= 0x1p-8 * abs(wanted) + 2e-5)
          }
        }
      }
    }
  }

  @Test("texts come in equal parts of rows, and what is missing from one comes from the others")
  func mix() {
    func source(_ name: String, _ count: Int, _ length: Int) -> CalibrationMix.Source {
      .init(
        name: name,
        texts: (0..<count).map { index in
          CalibrationText(tokens: Array(repeating: index, count: length), maskable: 0..<length)
        })
    }
    let sources = [source("a", 50, 32), source("b", 50, 64), source("c", 1, 32)]
    let mix = CalibrationMix(sources, rows: 5000, blockLength: 32, seed: 3)
    #expect(mix.rowCount >= 5000 && mix.rowCount < 5000 + 5 * 64)
    #expect(mix.parts[2] == .init(name: "c", available: 1, texts: 1, rows: 160))
    #expect(abs(mix.parts[0].rows - mix.parts[1].rows) <= 5 * 64)
    #expect(mix.texts.count == mix.parts.reduce(0) { $0 + $1.texts })
    #expect(mix.texts == CalibrationMix(sources, rows: 5000, blockLength: 32, seed: 3).texts)
    #expect(mix.texts != CalibrationMix(sources, rows: 5000, blockLength: 32, seed: 4).texts)
    // None twice.
    #expect(Set(mix.texts.filter { $0.tokens.count == 64 }.map { $0.tokens[0] }).count == mix.parts[1].texts)
    let all = CalibrationMix(sources, rows: 1 << 30, blockLength: 32, seed: 3)
    #expect(all.parts.map(\.texts) == [50, 50, 1])
  }
}
