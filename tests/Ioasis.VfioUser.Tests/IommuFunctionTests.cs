using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>An IOMMU as a function: the DMA of the function beside it is translated by tables in the memory of the IOMMU's client.</summary>
public sealed class IommuFunctionTests : IDisposable
{
    private const ulong Memory = 0x8000_0000;
    private const ulong Directory = Memory + 0x1000;
    private const ulong Root = Memory + 0x2000;
    private const ulong FaultQueue = Memory + 0x3000;
    private const ulong Data = 0x8000;

    // IOVA 1 GiB and what follows is physical Memory and what follows.
    private const ulong Iova = 0x4000_0000;

    private readonly ProbeDevice _device = new();
    private readonly RiscVIommuFunction _iommu = new(new RiscVIommuOptions());
    private readonly Served _served;
    private readonly TestClient _iommuClient;
    private readonly TestClient _client;
    private readonly SharedMemory _memory = new(1 << 20);

    public IommuFunctionTests()
    {
        _served = new(_iommu, _device);
        _iommuClient = _served.Connect(0);
        _client = _served.Connect(1);
        _iommuClient.Enable();
        _client.Enable();
        _iommuClient.Map(Memory, 1 << 20, _memory).ShouldBe(Errno.Success);
        _client.Map(Memory, 1 << 20, _memory).ShouldBe(Errno.Success);
    }

    public void Dispose()
    {
        _client.Dispose();
        _iommuClient.Dispose();
        _served.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void It_looks_like_the_function_for_which_there_are_drivers()
    {
        _iommuClient.Read(TestClient.Config, 0, 4).ShouldBe(0x0014_1b36ul);
        (_iommuClient.Read(TestClient.Config, 8, 4) >> 8).ShouldBe(0x08_06_00ul);
        RiscV.Architecture.Capabilities capabilities = new(_iommuClient.Read(0, RegisterOffset.Capabilities, 8));
        capabilities.Igs.ShouldBe(InterruptGeneration.Msi);
        _iommuClient.Read(0, RegisterOffset.Capabilities, 4).ShouldBe((uint)capabilities.Value);
    }

    [Fact]
    public void Until_a_driver_has_set_it_up_no_dma_passes() =>
        _device.DmaRead(Memory, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);

    [Fact]
    public void Dma_goes_where_the_tables_in_the_clients_memory_say()
    {
        SetUp();
        "translated"u8.CopyTo(_memory.Bytes[(int)Data..]);
        byte[] seen = new byte[10];
        _device.DmaRead(Iova + Data, seen).ShouldBe(DmaStatus.Success);
        seen.ShouldBe("translated"u8.ToArray());
        _device.DmaWrite(Iova + Data + 0x100, [1, 2, 3]).ShouldBe(DmaStatus.Success);
        _memory.Bytes.Slice((int)Data + 0x100, 3).ToArray().ShouldBe([1, 2, 3]);
        _device.DmaRead(Memory + Data, seen).ShouldBe(DmaStatus.UnsupportedRequest);

        // What no memory is behind fails too.
        _device.DmaRead(Iova + (1 << 20), seen).ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    public void A_fault_is_recorded_in_the_clients_memory_and_interrupts_by_message()
    {
        SetUp();
        using SafeFileHandle counter = SocketCalls.CreateEvent();
        using SafeFileHandle other = SocketCalls.CreateEvent();
        _iommuClient.SetInterrupts(
            VfioPciInterrupt.MsiX, VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger, 0, 2, other, counter).ShouldBe(Errno.Success);

        // Faults on vector 1; a queue of 16 records; interrupts and the queue on.
        _iommuClient.Write(0, RegisterOffset.InterruptCauseToVector, 8, 1ul << InterruptCauseToVector.FaultQueueShift);
        _iommuClient.Write(0, RegisterOffset.FaultQueueBase, 8, (FaultQueue >> 2) | 3);
        _iommuClient.Write(0, RegisterOffset.FaultQueueCsr, 4, 3);
        _device.DmaRead(0x1234_5678, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);

        SocketCalls.TakeCount(counter).ShouldBe(1ul);
        SocketCalls.TakeCount(other).ShouldBe(0ul);
        _iommuClient.Read(0, RegisterOffset.FaultQueueTail, 4).ShouldBe(1ul);
        ReadOnlySpan<ulong> record = MemoryMarshal.Cast<byte, ulong>(_memory.Bytes.Slice(0x3000, 32));
        (record[0] & 0xfff).ShouldBe(13ul);
        (record[0] >> 40).ShouldBe(0x10ul);
        record[2].ShouldBe(0x1234_5678ul);
    }

    /// <summary>Tables of chance: what is listed is what requests are let through to, page by page, both ways.</summary>
    [Fact]
    public void What_it_lists_for_a_device_is_what_requests_reach()
    {
        SetUp();
        const ulong Middle = 0x4000;
        const ulong Leaves = 0x5000;
        Random random = new(20);
        Put((Root & 0xf_ffff) + 16, ((Memory + Middle) >> 2) | 1);
        Put((Root & 0xf_ffff) + 24, (Memory >> 2) | 0xd7 | (1 << 12));
        Put(Middle, ((Memory + Leaves) >> 2) | 1);
        Put(Middle + 8, ((Memory + Middle) >> 2) | 1);
        for (ulong i = 0; i < 512; i++)
        {
            // Mostly valid, with whatever else; the third sixteen are one page of 64 KiB.
            ulong bits = (ulong)(uint)random.Next(256) | (random.Next(8) == 0 ? 0u : 0xd3u);
            Put(Leaves + (i * 8), i / 16 == 2 ? PageTableEntry.NapotBit | (0x1238ul << 10) | 0xd3 : ((ulong)(uint)random.Next(1 << 20) << 14) | bits);
            if (i > 1)
            {
                Put(Middle + (i * 8), ((ulong)(uint)random.Next(1 << 10) << 19) | (ulong)(uint)random.Next(256) | (random.Next(2) == 0 ? 0x41u : 0u));
            }
        }

        Devices.DeviceConnection connection = _device.Connection!;
        Dictionary<ulong, (ulong Address, bool IsWritable)> listed = [];
        ulong last = 0;
        foreach (Devices.DeviceMapping mapping in connection.Mappings!())
        {
            mapping.Start.Value.ShouldBeGreaterThanOrEqualTo(last);
            last = mapping.Start.Value + mapping.Length;
            for (ulong at = 0; at < mapping.Length; at += mapping.Length > 1 << 20 ? 511ul << 12 : 1 << 12)
            {
                listed.Add(mapping.Start.Value + at, (mapping.Address.Value + at, (mapping.Access & Access.Write) != 0));
            }
        }

        listed.Count.ShouldBeGreaterThan(800);
        foreach ((ulong iova, (ulong address, bool isWritable)) in listed)
        {
            Reach(iova, DmaFlags.None).ShouldBe(address);
            Reach(iova, DmaFlags.Write).ShouldBe(isWritable ? address : null);
        }

        for (ulong iova = 0x8000_0000; iova < 0x8020_0000; iova += 4096)
        {
            if (!listed.ContainsKey(iova))
            {
                Reach(iova, DmaFlags.None).ShouldBeNull();
            }
        }

        ulong? Reach(ulong iova, DmaFlags flags)
        {
            connection.Port.Translate(new(connection.RequesterId, new(iova), flags), out DmaTranslation translation);
            return translation.Status == DmaStatus.Success ? translation.Address.Value : null;
        }
    }

    [Fact]
    public void Where_it_does_not_translate_a_device_is_said_to_reach_all_that_its_client_has_shown()
    {
        _device.Connection!.Mappings!().ShouldBeEmpty();
        Devices.DeviceMapping everything = new(new(Memory), 1 << 20, new(Memory), Access.ReadWrite);
        _iommuClient.Write(0, RegisterOffset.DeviceDirectoryTablePointer, 8, (ulong)IommuMode.Bare);
        _device.Connection!.Mappings!().ShouldBe([everything]);
        Put((Directory & 0xf_ffff) + (0x10 * 64), DeviceTranslationControl.ValidBit);
        _iommuClient.Write(0, RegisterOffset.DeviceDirectoryTablePointer, 8, (Directory >> 2) | (ulong)IommuMode.OneLevel);
        _device.Connection!.Mappings!().ShouldBe([everything]);
    }

    [Fact]
    public void When_its_client_goes_nothing_is_translated_any_more()
    {
        SetUp();
        _device.DmaRead(Iova + Data, new byte[8]).ShouldBe(DmaStatus.Success);
        _iommuClient.Dispose();
        Served.Await(() => !_served.Machine.Functions[0].IsConnected);
        _device.DmaRead(Iova + Data, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        using TestClient next = _served.Connect(0);
        next.Read(0, RegisterOffset.DeviceDirectoryTablePointer, 8).ShouldBe(0ul);
    }

    // A directory of one level with the context of 00:02.0, first stage Sv39 with one leaf of 1 GiB.
    private void SetUp()
    {
        ulong context = (Directory & 0xf_ffff) + (0x10 * 64);
        Put(context + DeviceContextOffset.FirstStageContext, (8ul << TablePointer.ModeShift) | (Root >> 12));
        Put(context + DeviceContextOffset.TranslationControl, DeviceTranslationControl.ValidBit);
        Put((Root & 0xf_ffff) + 8, (Memory >> 2) | 0xd7);
        _iommuClient.Write(0, RegisterOffset.DeviceDirectoryTablePointer, 8, (Directory >> 2) | (ulong)IommuMode.OneLevel);
    }

    private void Put(ulong offset, ulong value) => MemoryMarshal.Write(_memory.Bytes[(int)offset..], value);
}
