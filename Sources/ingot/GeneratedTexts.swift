import Calibration
import Conversion
import Decoding
import Kernels
import Models
import Pack
import Storage
import Text
import Tokenizers

/// Texts that a model writes itself: its answers to the built-in prompts, decoded by a pack, which is made on the way where none
/// is given.
struct GeneratedTexts {
  /// Tokens of an answer.
  private static let length = 128

  private let generator: RunModel
  private let decoder: BlockDiffusion
  private let special: SpecialTokens

  /// - Parameters:
  ///   - model: whose states will be taken.
  ///   - pack: decodes; nil for one that is made of the checkpoint for the time of the run.
  init(
    _ model: RunModel, pack: String?, options: DecodingOptions, special: SpecialTokens, maxMemory: Int
  ) throws(Failure) {
    let compute = model.model.compute
    if let pack {
      generator = try RunModel(path: pack, compute: compute, cacheBudget: maxMemory / 4)
      guard try generator.tokenizerBytes() == model.tokenizerBytes() else {
        throw Failure(otherGenerator: pack, than: model.path)
      }
    } else {
      generator = try Self.madeOnTheWay(model.path, compute, maxMemory: maxMemory)
    }
    var options = options
    options.generationLength = Self.length
    self.special = special
    do throws(DecodingError) {
      decoder = try BlockDiffusion(generator.model, options: options, special: special)
    } catch { throw Failure(error, prompt: generator.path, longest: 0) }
  }

  /// Quantized without states, and without a name from the moment it is open.
  private static func madeOnTheWay(_ checkpoint: String, _ compute: Compute, maxMemory: Int) throws(Failure) -> RunModel
  {
    let directory = Machine.temporaryDirectory
    let written: Converter.Written
    do throws(ConversionError) {
      let plan = try ConversionPlan(checkpoint: checkpoint, options: .init())
      if let free = OutputFile.freeBytes(beside: "\(directory)/."), free < plan.rawByteCount {
        throw .diskSpace(needed: plan.rawByteCount, free: free, path: directory)
      }
      let converter = try Converter(
        plan, kernels: compute.kernels, threads: compute.threads, memoryLimit: maxMemory)
      written = try Interrupt.lookingOut { () throws(ConversionError) in
        try converter.make(
          withoutNameIn: directory, progress: { _ in }, isInterrupted: { Interrupt.isRequested })
      }
    } catch { throw Failure(error, output: directory) }
    return try RunModel(path: written.pack.link, compute: compute, cacheBudget: 0)
  }

  /// The answers to the first `count` prompts.
  ///
  /// - Parameter progress: false stops.
  func texts(_ count: Int, blockLength: Int, progress: (Double) -> Bool) throws(Failure) -> [CalibrationText] {
    var texts: [CalibrationText] = []
    for (index, prompt) in BuiltInPrompts.all.prefix(count).enumerated() {
      guard progress(Double(index) / Double(count)) else { throw Failure(StateError.interrupted) }
      let ids = try generator.ids(of: prompt.utf8.count, from: "a built-in prompt") {
        tokenizer throws(TokenizerError) in
        try tokenizer.encode(conversation: [.init(.user, prompt)])
      }
      let output: BlockDiffusion.Output
      do throws(DecodingError) { output = try decoder.decode(prompt: ids) { _, _ in !Interrupt.isRequested } } catch {
        throw Failure(error, prompt: "a built-in prompt", longest: 0, tokenizer: generator.tokenizer)
      }
      guard !output.tokens.isEmpty else { continue }
      // What fills the last block is masked in decoding, too.
      let tokens = ids + output.tokens
      let missing = output.stopped ? (blockLength - tokens.count % blockLength) % blockLength : 0
      texts.append(
        CalibrationText(
          tokens: tokens + Array(repeating: special.stops[0], count: missing),
          maskable: ids.count..<tokens.count + missing))
    }
    guard !texts.isEmpty else { throw Failure(nothingToCalibrate: generator.path) }
    return texts
  }
}
