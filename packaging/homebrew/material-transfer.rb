# `packaging/release finish` fills in the words between @ signs, and the workflow adds the file to the release:
#   brew install --formula ./material-transfer.rb
class MaterialTransfer < Formula
  desc "Material of one picture on the subject of another, as a command and an HTTP server"
  homepage "https://github.com/@REPOSITORY@"
  version "@VERSION@"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/material-transfer-@VERSION@-aarch64-apple-darwin.tar.gz"
      sha256 "@SHA256_AARCH64_APPLE_DARWIN@"
    end
  end

  on_linux do
    on_arm do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/material-transfer-@VERSION@-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_AARCH64_UNKNOWN_LINUX_GNU@"
    end
    on_intel do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/material-transfer-@VERSION@-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_X86_64_UNKNOWN_LINUX_GNU@"
    end
  end

  def install
    bin.install "material-transfer"
    doc.install "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES.txt"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/material-transfer.bash" => "material-transfer"
    zsh_completion.install "completions/_material-transfer"
    fish_completion.install "completions/material-transfer.fish"
  end

  service do
    run [opt_bin/"material-transfer", "serve"]
    environment_variables MATERIAL_TRANSFER_DATA_DIR: var/"material-transfer"
    keep_alive true
    log_path var/"log/material-transfer.log"
    error_log_path var/"log/material-transfer.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/material-transfer --version")
    # Too small a picture is refused by name: that needs the whole program, and a moment.
    (testpath/"small.png").binwrite(["89504e470d0a1a0a"].pack("H*"))
    output = shell_output("#{bin}/material-transfer transfer --subject small.png --material small.png --output o.png 2>&1", 2)
    assert_match "subject", output
  end
end
