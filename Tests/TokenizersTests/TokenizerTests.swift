import JSON
import TestSupport
import Testing
import Tokenizers

/// The ids and the text that the original tokenizer gave, for the test checkpoints.
@Suite struct TokenizerGoldenTests {
  @Test("the test checkpoints' tokenizers agree with the recorded ids", arguments: Trained.models)
  func goldens(model: String) throws {
    let tokenizer = try Tokenizer(
      tokenizerJSON: contents(of: Trained.checkpoint(model) + "/tokenizer.json"),
      others: [.config: contents(of: Trained.checkpoint(model) + "/tokenizer_config.json")])
    let text = String(decoding: try contents(of: Trained.golden(model, "tokenizer.json")), as: UTF8.self)
    let cases = try JSONParser.parse(text).array ?? []
    #expect(cases.count >= 14)
    for value in cases {
      let text = try #require(value.object?["text"]?.string)
      let ids = try #require(value.object?["ids"]?.array?.compactMap { $0.int })
      let decoded = try #require(value.object?["decoded"]?.string)
      #expect(try tokenizer.encode(text) == ids)
      #expect(try tokenizer.decode(ids).utf8.elementsEqual(decoded.utf8))
    }
    #expect(!tokenizer.chatTemplate.isAbsent)
    #expect(tokenizer.maskID == tokenizer.id(of: "<|mask|>"))
  }
}

@Suite struct TokenizerTests {
  @Test func mergesApplyByRankNotByPlace() throws {
    let tokenizer = try Fixture().tokenizer()
    func tokens(_ text: String) throws -> [String] { try tokenizer.encode(text).compactMap { tokenizer.token($0) } }
    #expect(try tokens("abc") == ["abc"])
    #expect(try tokens("bc") == ["bc"])
    #expect(try tokens("llll") == ["ll", "ll"])
    #expect(try tokens("lll") == ["ll", "l"])
    #expect(try tokens(" abc") == ["Ġa", "bc"])
    #expect(try tokens("é") == ["Ã", "©"])
    #expect(try tokens("") == [])
  }

  @Test func wholePiecesWinWhereMergesAreIgnored() throws {
    let fixture = Fixture.with {
      $0.merges.append(("Ġ", "abc"))
      $0.addedTokens = []
      $0.model = [("ignore_merges", true)]
    }
    let tokenizer = try fixture.tokenizer()
    #expect(try tokenizer.encode(" abc") == [tokenizer.id(of: "Ġabc")])
  }

  @Test func addedTokensAreFoundLongestFirst() throws {
    let fixture = Fixture.with {
      $0.addedTokens += [
        Fixture.added("<|mask|>!", 266), Fixture.added("<l>", 267, lstrip: true),
        Fixture.added("<r>", 268, rstrip: true),
        Fixture.added("xyz", 269, special: false, singleWord: true),
      ]
    }
    let tokenizer = try fixture.tokenizer()
    #expect(try tokenizer.encode("<|mask|><|mask|>!") == [263, 266])
    #expect(try tokenizer.encode("l \u{3000}<l> l<r>\n l") == [75, 267, 220, 75, 268, 75])
    #expect(try tokenizer.encode("xyz.") == [269, 13])
    #expect(try tokenizer.encode("xyzé").count == 5)
    #expect(try tokenizer.encode("<|mask|>", findingSpecial: false).count == 8)
    #expect(try tokenizer.encode("<think>", findingSpecial: false) == [265])
  }

  @Test func normalizationComposes() throws {
    let tokenizer = try Fixture.with { $0.normalizer = ["type": "NFC"] }.tokenizer()
    #expect(try tokenizer.encode("e\u{301}") == tokenizer.encode("\u{E9}"))
    // Below and above, whichever is written first; two above keep their order.
    #expect(try tokenizer.encode("q\u{307}\u{323}") == tokenizer.encode("q\u{323}\u{307}"))
    #expect(try tokenizer.encode("q\u{307}\u{301}") != tokenizer.encode("q\u{301}\u{307}"))
    let plain = try Fixture().tokenizer()
    #expect(try plain.encode("e\u{301}") != plain.encode("\u{E9}"))
  }

  @Test("any text comes back", arguments: [UInt64(1), 2, 3])
  func roundTrip(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let pieces = ["<|mask|>", "<|role_end", " ", "\r\n", "\n", "'s", "ll", "abc", "12", "👩‍💻", "e\u{301}", "語", "\u{0}"]
    let shared: [Tokenizer] = try [
      Fixture().tokenizer(),
      Fixture.with { $0.preTokenizer = ["type": "ByteLevel"] }.tokenizer(),
    ]
    for _ in 0..<500 {
      var text = String.UnicodeScalarView()
      for _ in 0..<Int.random(in: 0..<40, using: &random) {
        if Bool.random(using: &random), let piece = pieces.randomElement(using: &random) {
          text.append(contentsOf: piece.unicodeScalars)
        } else if let scalar = Unicode.Scalar(UInt32.random(in: 0..<0x11_0000, using: &random)) {
          text.append(scalar)
        }
      }
      let string = String(text)
      for tokenizer in shared {
        let ids = try tokenizer.encode(string)
        #expect(try tokenizer.decode(ids).utf8.elementsEqual(string.utf8), "seed \(seed)")
        #expect(try tokenizer.encode(utf8: Array(string.utf8)) == ids)
      }
    }
  }

  @Test(
    "text that is not UTF-8 is refused where it breaks",
    arguments: [
      ([0x61, 0xFF], 1), ([0xC3], 0), ([0x61, 0xC0, 0x80], 1), ([0xED, 0xA0, 0x80], 0), ([0xC3, 0xA9, 0x80], 2),
      ([0xF4, 0x90, 0x80, 0x80], 0),
    ] as [([UInt8], Int)])
  func invalidUTF8(bytes: [UInt8], byteOffset: Int) throws {
    let tokenizer = try Fixture().tokenizer()
    #expect(throws: TokenizerError.invalidUTF8(byteOffset: byteOffset)) { try tokenizer.encode(utf8: bytes) }
  }

  @Test func partsOfCharactersBecomeReplacements() throws {
    let tokenizer = try Fixture().tokenizer()
    let ids = try tokenizer.encode("a語")
    #expect(try tokenizer.decode(Array(ids.dropLast())) == "a\u{FFFD}")
    #expect(try tokenizer.decode(Array(ids.reversed())) == "\u{FFFD}\u{FFFD}\u{FFFD}a")
    #expect(try tokenizer.bytes(of: ids) == Array("a語".utf8))
  }

  @Test func specialTokensAreSkippedOnRequest() throws {
    let tokenizer = try Fixture().tokenizer()
    let ids = try tokenizer.encode("l<|mask|><think>l<|role_end|>")
    #expect(try tokenizer.decode(ids, skippingSpecial: true) == "l<think>l")
    #expect(try tokenizer.decode(ids) == "l<|mask|><think>l<|role_end|>")
  }

  @Test("ids without a token are refused", arguments: [-1, 266, 270, 272, .max, .min])
  func unknownIDs(id: Int) throws {
    let tokenizer = try Fixture.with { $0.addedTokens.append(Fixture.added("<x>", 271)) }.tokenizer()
    #expect(tokenizer.vocabularyCount == 272)
    #expect(tokenizer.token(id) == nil)
    #expect(throws: TokenizerError.unknownID(id, vocabularyCount: 272)) { try tokenizer.decode([75, id]) }
    #expect(throws: TokenizerError.self) { try tokenizer.decode([id], skippingSpecial: true) }
  }

  @Test func specialIDsComeFromTheConfigOrTheirUsualNames() throws {
    let plain = try Fixture().tokenizer()
    #expect([plain.eosID, plain.padID, plain.maskID, plain.roleEndID] == [262, 262, 263, 264])
    let config: JSONValue = [
      "eos_token": "<|role_end|>", "pad_token": ["content": "l"], "mask_token": .null,
      "added_tokens_decoder": ["262": ["content": "<|endoftext|>"], "270": ["content": "<new>", "special": true]],
    ]
    let named = try Fixture().tokenizer(config: config)
    #expect([named.eosID, named.padID, named.maskID] == [264, 75, 263])
    #expect(try named.encode("<new>") == [270])
    #expect(try named.decode([75, 76], skippingSpecial: true) == named.decode([76]))
  }

  @Test func aTokenizerWithoutMaskSaysSoWhenAsked() throws {
    let tokenizer = try Fixture.with { $0.addedTokens = [] }.tokenizer()
    #expect(tokenizer.maskID == nil && tokenizer.eosID == nil && tokenizer.padID == nil)
  }

  @Test func tokensAreToldApartByBytes() throws {
    let tokenizer = try Fixture.with {
      $0.addedTokens = [Fixture.added("<\u{E9}>", 262), Fixture.added("<e\u{301}>", 263)]
    }.tokenizer()
    #expect(try tokenizer.encode("<\u{E9}><e\u{301}>") == [262, 263])
  }
}
