import Decoding
import JSON
import Models
import Testing

/// What cannot be decoded is refused before any pass.
@Suite struct BadInputTests {
  private func refusal(
    _ options: DecodingOptions = .plain(), prompt: [Int] = [1], special: SpecialTokens = ID.special
  ) throws -> DecodingError? {
    let script = Script(blockLength: max(1, options.blockLength)) { _, _ in [5: 0.9] }
    do throws(DecodingError) {
      let configuration = try? scriptConfiguration()
      guard let configuration else { return nil }
      _ = try BlockDiffusion(configuration, options: options, special: special) { script }.decode(prompt: prompt)
      return nil
    } catch {
      #expect(script.passes.isEmpty && script.finished.isEmpty)
      return error
    }
  }

  @Test func prompts() throws {
    #expect(try refusal(prompt: []) == .emptyPrompt)
    #expect(try refusal(prompt: [1, 2, 48]) == .tokenOutOfRange(id: 48, index: 2, vocabulary: 48))
    #expect(try refusal(prompt: [-1]) == .tokenOutOfRange(id: -1, index: 0, vocabulary: 48))
    #expect(try refusal(prompt: [1, ID.mask]) == .maskInPrompt(index: 1))
  }

  @Test("a sequence in whole blocks may fill all positions, not more")
  func length() throws {
    #expect(try refusal(prompt: Array(repeating: 1, count: 4092)) == nil)
    #expect(try refusal(prompt: Array(repeating: 1, count: 4093)) == .tooLong(positions: 4100, limit: 4096))
    #expect(try refusal(.plain(block: 32, length: 4096)) == .tooLong(positions: 4128, limit: 4096))
  }

  @Test("options with which nothing could be committed, or that make no sense")
  func options() throws {
    let cases: [(name: String, (inout DecodingOptions) -> Void)] = [
      ("steps", { $0.steps = 0 }), ("steps", { $0.steps = -3 }), ("generation length", { $0.generationLength = 0 }),
      ("block length", { $0.blockLength = 0 }), ("block length", { $0.blockLength = -32 }),
      ("generation length", { $0.generationLength = .max }), ("block length", { $0.blockLength = 4097 }),
      ("block length", { $0.blockLength = .max }), ("steps", { $0.steps = .max }),
      ("threshold", { $0.threshold = -0.1 }),
      ("threshold", { $0.threshold = 1.5 }), ("threshold", { $0.threshold = .nan }),
      ("temperature", { $0.temperature = -1 }), ("temperature", { $0.temperature = .nan }),
      ("temperature", { $0.temperature = .infinity }), ("top-k", { $0.topK = 0 }), ("top-p", { $0.topP = 0 }),
      ("top-p", { $0.topP = 1.1 }), ("top-p", { $0.topP = .nan }),
      ("editing threshold", { $0.decoder = .editing(threshold: -0.5, maximumPostSteps: 16) }),
      ("editing threshold", { $0.decoder = .editing(threshold: .nan, maximumPostSteps: 16) }),
      ("post steps", { $0.decoder = .editing(threshold: 0, maximumPostSteps: -1) }),
      (
        "editing threshold",
        {
          $0 = .levenshtein(); $0.decoder = Self.levenshtein(threshold: 2)
        }
      ),
      ("steps per block", { $0.decoder = Self.levenshtein(most: 0) }),
    ]
    for (name, change) in cases {
      var options = DecodingOptions.plain()
      change(&options)
      guard case .option(name, let detail)? = try refusal(options) else {
        Issue.record("\(name) is accepted, or refused as another")
        continue
      }
      #expect(!detail.isEmpty)
    }
  }

  private static func levenshtein(
    delete: Int = ID.delete, split: Int = ID.split, threshold: Float = 0, most: Int = 10
  ) -> DecodingOptions.Decoder {
    .levenshtein(.init(delete: delete, split: split), threshold: threshold, maximumPostSteps: 2, maximumSteps: most)
  }

  @Test("P11: special tokens must be in the vocabulary, and the mask is none that ends an answer")
  func specialTokens() throws {
    for special in [
      SpecialTokens(mask: 48, stops: [1]), .init(mask: -1, stops: [1]), .init(mask: 47, stops: [1, 48]),
      .init(mask: 47, stops: [46, 47]),
    ] {
      guard case .specialToken? = try refusal(special: special) else {
        Issue.record("\(special) is accepted")
        continue
      }
    }
    for (delete, split) in [(48, 44), (44, -1), (44, 44), (47, 44), (46, 44), (44, 46)] {
      var options = DecodingOptions.plain()
      options.decoder = Self.levenshtein(delete: delete, split: split)
      guard case .specialToken? = try refusal(options) else {
        Issue.record("\(delete), \(split) are accepted")
        continue
      }
    }
  }

  @Test("scores that are infinite or no numbers are no choice", arguments: [Float.nan, .infinity], [0, 1] as [Float])
  func notFinite(score: Float, temperature: Float) throws {
    let script = Script(blockLength: 4) { _, offset in offset == 2 ? [5: 0.1, 6: score] : [5: 0.1] }
    var options = DecodingOptions.plain()
    options.temperature = temperature
    let decoder = try BlockDiffusion(scriptConfiguration(), options: options, special: ID.special) { script }
    #expect(throws: DecodingError.notFinite(prompt: 0, position: 6)) { _ = try decoder.decode(prompt: [1, 1, 1, 1]) }
  }

  @Test("a vocabulary of which nothing might be left to choose is refused")
  func vocabulary() throws {
    let levenshtein = DecodingOptions.Decoder.levenshtein(
      .init(delete: 2, split: 3), threshold: 0, maximumPostSteps: 2, maximumSteps: 10)
    for (decoder, size, isFine) in [
      (DecodingOptions.Decoder.threshold, 1, false), (.threshold, 2, true), (levenshtein, 3, false),
      (levenshtein, 4, true),
    ] {
      var options = DecodingOptions.plain()
      options.decoder = decoder
      let configuration = try scriptConfiguration(["vocab_size": JSONValue(size)])
      let special = SpecialTokens(mask: 0, stops: size > 1 ? [1] : [])
      do throws(DecodingError) {
        _ = try BlockDiffusion(configuration, options: options, special: special) {
          Script(blockLength: 4) { _, _ in [:] }
        }
        #expect(isFine, "\(size)")
      } catch {
        let isMeant =
          switch error {
          case .vocabulary, .specialToken: true
          default: false
          }
        #expect(isMeant && !isFine, "\(error)")
      }
    }
  }

  @Test("P25: blocks must be whole windows of 2.2's routing")
  func blockRouting() throws {
    let configuration = try scriptConfiguration(["block_size": 4, "expert_capacity": 3])
    for (blockLength, isFine) in [(4, true), (8, true), (6, false), (2, false), (1, false)] {
      let script = Script(blockLength: blockLength) { _, _ in [5: 0.9] }
      let options = DecodingOptions.plain(block: blockLength)
      do throws(DecodingError) {
        _ = try BlockDiffusion(configuration, options: options, special: ID.special) { script }
        #expect(isFine)
      } catch {
        guard case .option("block length", _) = error, !isFine else { return #expect(Bool(false), "\(error)") }
      }
    }
  }
}
