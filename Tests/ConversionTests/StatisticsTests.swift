import Conversion
import Pack
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct StatisticsTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let encoding: Encoding
    let solver: any GroupwiseSolver
    var testDescription: String { "\(encoding), \(solver.name)" }
    static let all = Encoding.grouped.flatMap { encoding in
      Solvers.groupwise.map { Case(encoding: encoding, solver: $0) }
    }
  }

  /// The errors of `encodings.md` §10, from the decoded elements of each chunk.
  private struct Errors {
    var squaredError = 0.0
    var squaredWeight = 0.0
    var saturated = 0
    var count = 0

    var relativeRMSE: Float { squaredWeight == 0 ? 0 : Float((squaredError / squaredWeight).squareRoot()) }
    var saturatedShare: Float { Float(Double(saturated) / Double(count)) }

    mutating func add(_ x: ArraySlice<Float>, _ codes: [UInt8], _ scales: [Float], _ encoding: Encoding) {
      let limits = encoding.codes?.code == .int4 ? (-8, 7) : (-127, 127)
      var sums = (0.0, 0.0)
      for (group, s) in scales.enumerated() {
        var (error, weight) = ([Float](repeating: 0, count: 16), [Float](repeating: 0, count: 16))
        for i in 0..<encoding.groupSize {
          let element = group * encoding.groupSize + i
          let value = x[x.startIndex + element]
          let e = value - Float(code(codes, element, encoding)) * s
          error[i % 16] += e * e
          weight[i % 16] += value * value
          let wanted = s == 0 ? 0 : (value * (1 / s)).rounded(.toNearestOrEven)
          if wanted <= Float(limits.0) || wanted >= Float(limits.1) { saturated += 1 }
        }
        sums.0 += Double(inPairs(error))
        sums.1 += Double(inPairs(weight))
      }
      squaredError += sums.0
      squaredWeight += sums.1
      count += x.count
    }

    private func code(_ codes: [UInt8], _ element: Int, _ encoding: Encoding) -> Int {
      guard encoding.codes?.code == .int4 else { return Int(Int8(bitPattern: codes[element])) }
      let byte = codes[element / 32 * 16 + element % 16]
      return Int(element % 32 < 16 ? byte & 15 : byte >> 4) - 8
    }

    private func inPairs(_ sums: [Float]) -> Float {
      [8, 4, 2, 1].reduce(sums) { sums, half in (0..<half).map { sums[$0] + sums[$0 + half] } }[0]
    }
  }

  private func errors(of record: TensorRecord, _ x: [Float], _ pack: PackFile) throws -> Errors {
    var errors = Errors()
    for position in 0..<record.chunkCount {
      let (encoding, planes) = try pack.planes(of: record, chunk: position)
      let content = try pack.content(ofChunk: record.firstChunk + position, codec: ChunkCodec())
      let bytes = content.bytes
      let codes = bytes.extracting(planes[0]).array
      let scales = bytes.extracting(planes[1])
      let rows = record.chunkCount == 1 ? 0..<record.shape.rows : record.rows(inChunk: position)
      let elements = rows.lowerBound * record.shape.columns..<rows.upperBound * record.shape.columns
      let list = Quantizer.scales(scales, as: encoding, columns: record.shape.columns)
      errors.add(x[elements], codes, list, encoding)
    }
    return errors
  }

  /// Compares every quantized tensor; returns how many there were.
  private func compare(_ tiny: TinyCheckpoint, _ options: ConversionPlan.Options, threads: Int) throws -> Int {
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let outcome = try convert(directory, options, Run(threads: threads))
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let pack = try PackFile(path: directory + "/out.ingot")
      var compared = 0
      for tensor in tiny.published {
        let record = try pack.tensor(named: tensor.name)
        guard record.encoding?.isGrouped == true else { continue }
        let expected = try errors(of: record, floats(tensor.bytes, as: tensor.dtype), pack)
        #expect(record.relativeRMSE == expected.relativeRMSE, "\(tensor.name)")
        #expect(record.saturatedShare == expected.saturatedShare, "\(tensor.name)")
        let planned = plan.pack.tensors.firstIndex { $0.name == tensor.name }
        #expect(planned.map { outcome.statistics[$0].relativeRMSE } == expected.relativeRMSE)
        compared += 1
      }
      return compared
    }
  }

  @Test("errors in the table are those of the decoded weights, to the bit", arguments: Case.all)
  func table(test: Case) throws {
    let name = test.encoding.description
    let dense: [Recipe.Rule] = [.init(match: "attention.dense", choice: .keep)]
    let options = try ConversionPlan.Options(experts: name, rest: name, dense, solver: test.solver)
    let compared = try compare(wide, options, threads: 2)
    #expect(compared == 12 + 3 + 3 + 2 + 2)
  }

  @Test func errorsOfATensorInSeveralChunksAddUpInOrder() throws {
    var tiny = TinyCheckpoint()
    (tiny.vocabulary, tiny.isTied, tiny.hasHead) = (70_000, true, false)
    let options = try ConversionPlan.Options(
      experts: "keep", rest: "keep", [.init(match: "word_embeddings", choice: .encode(TinyPack.encoding("int8-g64")))])
    #expect(try compare(tiny, options, threads: 3) == 1)
  }

  @Test func tensorsOfZerosHaveNoError() throws {
    var tiny = TinyCheckpoint()
    tiny.change = { tensors in
      for index in tensors.indices where tensors[index].name.contains("experts.2.") {
        tensors[index].bytes = [UInt8](repeating: 0, count: tensors[index].bytes.count)
      }
    }
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      try convert(directory, ConversionPlan.Options(experts: "int4-g32"))
      let pack = try PackFile(path: directory + "/out.ingot")
      let record = try pack.tensor(named: "model.layers.1.mlp.experts.2.up_proj.weight")
      #expect(record.relativeRMSE == 0 && record.saturatedShare == 0)
      let found = try PackCheck(path: pack.path).run(threads: 1).violations
      #expect(found == [])
    }
  }
}
