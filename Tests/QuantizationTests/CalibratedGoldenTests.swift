import Kernels
import Quantization
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// `Formats/golden/solver`, an expert solved by the Python definition: every set of kernels arrives at the same bits.
@Suite struct CalibratedGoldenTests {
  private static let directory: String = {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/") + "/Formats/golden/solver/"
  }()

  private static let cases: [(name: String, solver: GPTQ)] =
    [16, 32, 64, 128].map { ("int4-g\($0)", GPTQ(bits: 4, groupSize: $0)) } + [
      ("int8-g64", GPTQ(bits: 8, groupSize: 64)),
      ("int4-g32s8", GPTQ(bits: 4, groupSize: 32, grid: .byte)),
      ("int8-g64s8", GPTQ(bits: 8, groupSize: 64, grid: .byte)),
    ]

  /// The tensors of a file as numbers, and their bytes.
  private struct Tensors {
    let file: SafetensorsFile
    init(_ name: String) throws { file = try SafetensorsFile(path: directory + name) }

    func bytes(_ name: String) throws -> [UInt8] {
      let entry = try #require(file[name], "\(name)")
      return file.bytes(of: entry).array
    }
    func floats(_ name: String) throws -> [Float] {
      let raw = try bytes(name)
      if try #require(file[name]).dtype == .bf16 {
        return (0..<raw.count / 2).map {
          Float(bitPattern: UInt32(raw.rawBytes.integer(at: 2 * $0) as UInt16) << 16)
        }
      }
      return (0..<raw.count / 4).map { Float(bitPattern: raw.rawBytes.integer(at: 4 * $0)) }
    }
    func doubles(_ name: String) throws -> [Double] {
      let raw = try bytes(name)
      return (0..<raw.count / 8).map { Double(bitPattern: raw.rawBytes.integer(at: 8 * $0)) }
    }
  }

  @Test(
    "an expert's codes, scales and errors are those of the Python definition", arguments: KernelSet.available, [1, 3])
  func expert(_ kernels: KernelSet, _ threads: Int) throws {
    let inputs = try Tensors("inputs.safetensors")
    let expected = try Tensors("expert.safetensors")
    let columns = 128
    let states = try inputs.bytes("layer.states")
    let layerWeights = try inputs.floats("layer.weights")
    var layer = Moments(columns: columns)
    layer.add(states.rawBytes, as: .bf16, weights: layerWeights.span, kernels: kernels, threads: threads)

    let isMine = try inputs.bytes("expert.tokens").map { $0 == 1 }
    let mine = isMine.indices.filter { isMine[$0] }.flatMap { states[$0 * columns * 2..<($0 + 1) * columns * 2] }
    let weights = try inputs.floats("expert.weights")
    let matrices = try ["gate": inputs.floats("gate"), "up": inputs.floats("up"), "down": inputs.floats("down")]
    let (gate, up) = (matrices["gate"]!, matrices["up"]!)
    let hidden = ExpertMoments.hidden(
      mine.rawBytes, as: .bf16, tokens: weights.count, gate: gate.span, up: up.span, rows: 128, columns: columns,
      kernels: kernels, threads: threads)
    #expect(hidden == (try expected.floats("hidden")))

    var moments = ExpertMoments(columns: columns, rows: 128)
    for (start, end) in [(0, 17), (17, weights.count)] {
      moments.add(
        mine.rawBytes.extracting(start * columns * 2..<end * columns * 2), as: .bf16,
        weights: weights.span.extracting(start..<end), gate: gate.span, up: up.span, kernels: kernels,
        threads: threads)
    }
    let expert = try moments.condition(layer: layer.share(), kernels: kernels, threads: threads)
    let conditioned = ["states": expert.outer, "inner": expert.inner]
    for (name, moments) in conditioned {
      let wanted = try expected.doubles(name + ".conditioning")
      #expect([moments.conditioning.shrink, moments.conditioning.damping] == Array(wanted[..<2]))
      #expect(moments.conditioning.outcome == .factored && moments.conditioning.attempts == 1)
    }
    for (name, solver) in Self.cases {
      for matrix in ["gate", "up", "down"] where matrix != "up" || name == "int4-g64" {
        let moments = try #require(conditioned[matrix == "down" ? "inner" : "states"])
        let weights = try #require(matrices[matrix])
        let solved = try solver.solve(weights.span, rows: 128, moments: moments, threads: threads)
        let title = "\(name).\(matrix)"
        #expect(solved.codes.map { UInt8(bitPattern: $0) } == (try expected.bytes(title + ".codes")), "\(title)")
        #expect(solved.scales == (try expected.floats(title + ".scales")), "\(title)")
        let (sums, ridge) = (try expected.doubles(title + ".errors"), try expected.doubles(conditionName(matrix))[2])
        #expect(solved.outputError == max(0, sums[0] - ridge * solved.statistics.squaredError), "\(title)")
        #expect(solved.outputPower == max(0, sums[1] - ridge * solved.statistics.squaredWeight), "\(title)")
      }
    }
  }

  private func conditionName(_ matrix: String) -> String { (matrix == "down" ? "inner" : "states") + ".conditioning" }
}
