namespace Ioasis.Native.Tests;

/// <summary>Programs in the languages of those who write drivers, against the library as it is shipped.</summary>
public sealed class ProgramTests
{
    private static string Example(string name) => Path.Combine(Toolbox.Root, "examples", "native", name);

    [Fact]
    public void A_driver_and_a_device_of_twenty_lines_run_in_one_program_in_C() =>
        Ends(Toolbox.CompileC(Example("tiny_device.c")), "sum 4950 after 1 interrupt", "read from 0x10000");

    [Fact]
    public void A_program_in_Cpp_maps_has_DMA_done_unmaps_and_reads_the_fault()
    {
        Ends(Toolbox.Compile(Toolbox.Need("g++", "g++"), Example("dma.cpp"), ["-std=c++17"]), "write to 0x100010");
    }

    [Fact]
    public void A_program_in_Rust_without_crates_maps_has_DMA_done_unmaps_and_reads_the_fault()
    {
        string compiler = Toolbox.Need("rustc", "rustc");
        string library = Toolbox.Library;
        string program = Path.Combine(Toolbox.Scratch, "dma-rs");
        (int status, string text) = Toolbox.Run(compiler, ["--edition", "2021", "-L", library, "-o", program, Example("dma.rs")]);
        status.ShouldBe(0, text);
        Ends(program, "iova 0x40800 is no multiple of 4096");
    }

    [Fact]
    public void A_program_in_Python_maps_has_DMA_done_unmaps_and_reads_the_fault()
    {
        string interpreter = Toolbox.Need("python3", "python3", "-c", "import ctypes");
        _ = Toolbox.Library;
        (int status, string text) = Toolbox.Run(interpreter, [Example("dma.py")]);
        status.ShouldBe(0, text);
        text.ShouldContain("write to 0x20000");
        text.ShouldEndWith("ok\n");
    }

    // Go's programs are static and make their system calls themselves: only the supervisor sees those.
    [Fact]
    public void A_driver_in_Go_runs_under_the_supervisor()
    {
        string compiler = Toolbox.Need("go", "golang-go", "version");
        string program = Path.Combine(Toolbox.Scratch, "edu-go");
        (int status, string text) = Toolbox.Run(
            "env",
            ["GO111MODULE=off", "GOFLAGS=", "CGO_ENABLED=0", "GOCACHE=" + Path.Combine(Toolbox.Scratch, "go"), compiler, "build", "-o", program, Path.Combine(Toolbox.Root, "examples", "foreign-driver", "edu.go")]);
        status.ShouldBe(0, text);
        (status, text) = Toolbox.Run(
            "dotnet", [Ioasis.Testing.ExternalProgram.IoasisCommand, "exec", "--device", "edu,addr=0000:00:03.0", "--", program, "0000:00:03.0"]);
        status.ShouldBe(0, text);
        text.ShouldBe("edu 10000ed says 200 copies came back\n");
    }

    [Theory]
    [InlineData("misuse.c")]
    [InlineData("faults.c")]
    [InlineData("forks.c")]
    [InlineData("threads.c")]
    [InlineData("model.c")]
    [InlineData("config.c")]
    [InlineData("machines.c")]
    [InlineData("pasids.c")]
    [InlineData("mistakes.c")]
    [InlineData("unloading.c")]
    public void Every_claim_of_a_program_in_C_holds(string name) =>
        Ends(Toolbox.CompileC(Path.Combine(Toolbox.Root, "tests", "Ioasis.Native.Tests", "Programs", name), "-O1", "-rdynamic", "-Wl,--as-needed"));

    // The library itself writes nothing: what comes out is the program's.
    private static void Ends(string program, params string[] words)
    {
        (int status, string text) = Toolbox.Run(program, []);
        status.ShouldBe(0, text);
        text.ShouldEndWith("ok\n");
        foreach (string word in words)
        {
            text.ShouldContain(word);
        }
    }
}
