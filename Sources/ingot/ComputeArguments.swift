import ArgumentParser
import Kernels
import Models

/// What `run` and `score` can be told of how a model is computed.
struct ComputeArguments: ParsableArguments {
  @Option(name: .shortAndLong, help: "Threads that compute. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: "How int4 and int8 matrices take activations; int8 rounds them: faster in blocks, less exact.")
  var activations = Activations.fp32

  @Option(help: "What keys and values are kept as; bf16 rounds them: half of the memory of long contexts, less exact.")
  var kvCacheDtype = KeyValueType.fp32

  @Option(
    help: ArgumentHelp(
      "Memory to keep unpacked experts of a compressed pack in, and to read those in that the page cache did not keep; all else "
        + "comes on top. Of many prompts together a half of it is for that, the rest for what those in progress take.",
      valueName: "size"))
  var maxMemory = ByteCount(argument: "2GiB")!  // a valid literal

  @Flag(
    help: "Compare each chunk of a pack with its hashes before its first use; one that was changed ends the run.")
  var checkWeights = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
  }

  func compute(treatsRowsAlike: Bool = false) throws(Failure) -> Compute {
    Compute(
      kernels: try KernelSet.chosen(), threads: threads ?? Machine.threads, activations: activations,
      keyValues: kvCacheDtype, treatsRowsAlike: treatsRowsAlike)
  }

  /// Opens a model for many sequences side by side.
  func openForBatch(_ path: String, _ compute: Compute) throws(Failure) -> RunModel {
    try RunModel(path: path, compute: compute, cacheBudget: maxMemory.value / 2, checksChunks: checkWeights)
  }

  /// What is left for the sequences.
  func batchMemory(_ model: RunModel) -> BatchMemory {
    BatchMemory(model.configuration, keyValues: kvCacheDtype, byteCount: maxMemory.value / 2)
  }
}

enum Switch: String, CaseIterable, ExpressibleByArgument {
  case on, off
}

extension Activations: ExpressibleByArgument {}
extension KeyValueType: ExpressibleByArgument {}

/// What `--max-memory` leaves for sequences: three quarters for keys and values, the rest for rows on their way through a layer.
struct BatchMemory {
  /// Positions whose keys and values fit.
  let positions: Int
  /// Rows that go through the layers together.
  let passRows: Int
  private let bytesPerPosition: Int
  private let byteCount: Int

  init(_ c: ModelConfiguration, keyValues: KeyValueType, byteCount: Int) {
    self.byteCount = byteCount
    let float = MemoryLayout<Float>.size
    bytesPerPosition = c.byteCount(of: keyValues)
    positions = byteCount / 4 * 3 / bytesPerPosition
    let attention = (2 * c.headCount + 2 * c.keyValueHeadCount) * c.headDimension
    let widest = max(c.intermediateSize, c.expertsPerToken * c.hiddenSize)
    let rowBytes = float * (6 * c.hiddenSize + 2 * attention + 2 * widest)
    passRows = max(32, min(4096, byteCount / 4 / rowBytes))
  }

  /// Refuses a sequence that does not fit alone.
  func require(_ positions: Int, place: String) throws(Failure) {
    guard positions <= self.positions else {
      throw Failure(
        sequenceOf: positions, needs: 8 * (positions * bytesPerPosition / 3 + 1), of: 2 * byteCount, place: place)
    }
  }
}
