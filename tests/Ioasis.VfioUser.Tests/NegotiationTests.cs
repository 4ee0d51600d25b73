using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Ioasis.Primitives;

namespace Ioasis.VfioUser.Tests;

/// <summary>The first message: versions and capabilities.</summary>
public sealed class NegotiationTests : IDisposable
{
    private readonly Served _served = new(new ProbeDevice());

    public void Dispose() => _served.Dispose();

    [Fact]
    public void The_answer_has_the_least_of_both_ends_capabilities()
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.Agree(
            0, 7, [.. """{"capabilities":{"max_msg_fds":3,"max_data_xfer_size":65536,"max_dma_maps":12,"pgsizes":4096,"write_multiple":true,"unknown":{"a":[1]}}}"""u8, 0],
            out byte[] reply).ShouldBe(Errno.Success);

        MemoryMarshal.Read<VersionStructure>(reply).ShouldBe(new VersionStructure(0, 1));
        reply[^1].ShouldBe((byte)0);
        JsonElement capabilities = JsonDocument.Parse(reply.AsMemory(4, reply.Length - 5)).RootElement.GetProperty("capabilities");
        capabilities.GetProperty("max_data_xfer_size").GetInt32().ShouldBe(65536);
        capabilities.GetProperty("max_dma_maps").GetInt32().ShouldBe(12);
        capabilities.GetProperty("max_msg_fds").GetInt32().ShouldBe(16);
        capabilities.GetProperty("write_multiple").GetBoolean().ShouldBeTrue();
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("""{"capabilities":{}}""")]
    [InlineData("""{"capabilities":{"twin_socket":{"supported":true},"migration":{"pgsize":4096,"max_bitmap_size":4096}}}""")]
    [InlineData("null")]
    public void What_is_not_said_has_its_usual_value(string? json)
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.Agree(json, minor: 0).ShouldBe(Errno.Success);
        client.Read(TestClient.Config, 0, 4).ShouldBe(0x0001_1234ul);
    }

    [Theory]
    [InlineData(1, """{}""")]
    [InlineData(0, """{"capabilities":""")]
    [InlineData(0, """{"capabilities":7}""")]
    [InlineData(0, """{"capabilities":{"max_msg_fds":-1}}""")]
    [InlineData(0, """{"capabilities":{"max_data_xfer_size":"1"}}""")]
    [InlineData(0, """{"capabilities":{"max_data_xfer_size":4095}}""")]
    [InlineData(0, """{"capabilities":{"pgsizes":65536}}""")]
    [InlineData(0, "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]")]
    public void What_cannot_be_is_refused_with_a_reason_and_the_connection_ends(ushort major, string json)
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.Agree(json, major).ShouldBe(Errno.InvalidArgument);
        client.TryRead(TestClient.Config, 0, 4, out _).ShouldBe(Errno.BrokenPipe);
        _served.Log.Lines.ShouldContain(static line => line.Contains("a connection is refused", StringComparison.Ordinal));
    }

    [Fact]
    public void A_text_without_its_end_is_refused()
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.Agree(0, 0, "{}"u8, out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Nothing_comes_before_the_version()
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.TryRead(TestClient.Config, 0, 4, out _).ShouldBe(Errno.InvalidArgument);
        client.Agree("{}").ShouldBe(Errno.BrokenPipe);
    }

    [Fact]
    public void The_version_is_agreed_on_once()
    {
        using TestClient client = _served.Connect();
        client.Agree("{}").ShouldBe(Errno.InvalidArgument);
        client.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    [Fact]
    public void A_client_that_takes_less_at_a_time_gets_less_at_a_time()
    {
        using TestClient client = new(_served.PathOf(0), agree: false);
        client.Agree("""{"capabilities":{"max_data_xfer_size":4096}}""").ShouldBe(Errno.Success);
        client.Enable();
        client.TryRead(2, 0, 4096, out _).ShouldBe(Errno.Success);
        client.TryRead(2, 0, 4097, out _).ShouldBe(Errno.ArgumentTooBig);
    }
}
