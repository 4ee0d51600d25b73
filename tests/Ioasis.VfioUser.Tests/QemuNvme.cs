using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser.Qemu;

namespace Ioasis.VfioUser.Tests;

/// <summary>A small driver for an NVMe controller: one queue pair beside the admin queue, in memory that begins at an address of the device's.</summary>
/// <param name="memory">The memory, as this process has it.</param>
/// <param name="start">Its first address.</param>
/// <param name="write">Writes a register: offset and value, of 4 or 8 bytes.</param>
/// <param name="read">Reads one of 4 bytes.</param>
internal sealed unsafe class NvmeDriver(byte* memory, ulong start, Action<ulong, ulong, int> write, Func<ulong, uint> read)
{
    public const int Page = 4096;
    public const byte Write = 1;
    public const byte Read = 2;
    public const byte Identify = 6;

    /// <summary>Queues are below, and data from here.</summary>
    public const int DataOffset = 0x8000;

    private const uint Entries = 16;
    private readonly uint[] _tails = new uint[2];
    private readonly uint[] _heads = new uint[2];
    private readonly bool[] _phases = [true, true];

    public void Enable()
    {
        write(0x24, (Entries - 1) * 0x1_0001, 4);
        write(0x28, start, 8);
        write(0x30, start + Page, 8);
        write(0x14, 0x46_0001u, 4);
        QemuNvme.WaitFor(() => (read(0x1c) & 1) != 0);
        Execute(0, 5, 0, start + (3 * Page), 0, 1 | ((Entries - 1) << 16), 3).ShouldBe(0u);
        Execute(0, 1, 0, start + (2 * Page), 0, 1 | ((Entries - 1) << 16), 1 | (1 << 16)).ShouldBe(0u);
    }

    /// <summary>Blocks of 512 bytes.</summary>
    public uint Transfer(byte opcode, uint first, int blocks, ulong data, ulong more = 0) => Execute(1, opcode, 1, data, more, first, 0, (uint)blocks - 1);

    /// <summary>Makes a command and waits for its completion, which is looked for in memory alone.</summary>
    /// <returns>The status without the phase: 0 for success.</returns>
    public uint Execute(int queue, byte opcode, uint space, ulong data, ulong more, uint word10, uint word11 = 0, uint word12 = 0)
    {
        Submit(queue, opcode, space, data, more, word10, word11, word12);
        return Complete(queue);
    }

    /// <summary>Makes a command.</summary>
    public void Submit(int queue, byte opcode, uint space, ulong data, ulong more, uint word10, uint word11 = 0, uint word12 = 0)
    {
        Span<byte> entry = new(memory + (2 * queue * Page) + (64 * _tails[queue]), 64);
        entry.Clear();
        entry[0] = opcode;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], space);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[24..], data);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[32..], more);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[40..], word10);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[44..], word11);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[48..], word12);
        _tails[queue] = (_tails[queue] + 1) % Entries;
        write(0x1000 + (8ul * (uint)queue), _tails[queue], 4);
    }

    /// <summary>Waits for the next completion.</summary>
    public uint Complete(int queue)
    {
        uint* last = (uint*)(memory + (((2 * queue) + 1) * Page) + (16 * _heads[queue]) + 12);
        uint wanted = _phases[queue] ? 0x1_0000u : 0;
        QemuNvme.WaitFor(() => (Volatile.Read(ref *last) & 0x1_0000) == wanted);
        uint status = *last >> 17;
        _heads[queue] = (_heads[queue] + 1) % Entries;
        _phases[queue] ^= _heads[queue] == 0;
        write(0x1004 + (8ul * (uint)queue), _heads[queue], 4);
        return status;
    }
}

/// <summary>An NVMe controller of QEMU's behind our IOMMU, with a driver.</summary>
internal sealed unsafe class QemuNvme : IDisposable
{
    public const int Page = NvmeDriver.Page;
    public const byte Write = NvmeDriver.Write;
    public const byte Read = NvmeDriver.Read;
    public const byte Identify = NvmeDriver.Identify;

    // IOVAs of the driver's memory, which is mapped as one range: queues, and then data.
    public const ulong Base = 0x10_0000;
    public const ulong Data = Base + NvmeDriver.DataOffset;
    public const int Pages = 256;

    private readonly IommuFd _iommu;
    private readonly byte* _memory;

    public QemuNvme(string image, Action<string>? refused = null)
    {
        Device = QemuDevice.Start(
            "nvme,drive=d0,serial=ioasis-7", ["-drive", $"if=none,id=d0,format=raw,file={image}"], Lab.QemuX86, refused: refused);
        Platform = new(new());
        EmbeddedEndpoint endpoint = Platform.AddDevice(Device, DeviceId.FromPci(0, 0, 3, 0));
        _iommu = IommuFd.Open(Platform.Kernel);
        Client = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
        Client.Bind(_iommu);
        Space = _iommu.AllocateAddressSpace();
        Client.Attach(Space);
        _memory = (byte*)NativeMemory.AlignedAlloc(Pages * Page, Page);
        Memory.Clear();
        Space.Map(new((ulong)_memory, Pages * Page), new Iova(Base), Access.ReadWrite);
        Client.GetRegion(VfioPciRegion.Config).Write(4, (ushort)6);
        VfioRegion registers = Client.GetRegion(VfioPciRegion.Bar0);
        Driver = new(
            _memory,
            Base,
            (offset, value, size) =>
            {
                if (size == 8)
                {
                    registers.Write(offset, value);
                }
                else
                {
                    registers.Write(offset, (uint)value);
                }
            },
            registers.Read<uint>);
    }

    public QemuDevice Device { get; }

    public EmbeddedPlatform Platform { get; }

    public VfioDevice Client { get; }

    public IoAddressSpace Space { get; }

    public NvmeDriver Driver { get; }

    public Span<byte> Memory => new(_memory, Pages * Page);

    public ulong UserAddress => (ulong)_memory;

    /// <summary>Memory by its IOVA.</summary>
    public Span<byte> At(ulong iova, int length) => Memory.Slice((int)(iova - Base), length);

    public static void WaitFor(Func<bool> condition) => SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(1)).ShouldBeTrue();

    public void Enable() => Driver.Enable();

    /// <inheritdoc cref="NvmeDriver.Transfer"/>
    public uint Transfer(byte opcode, uint first, int blocks, ulong data, ulong more = 0) => Driver.Transfer(opcode, first, blocks, data, more);

    /// <inheritdoc cref="NvmeDriver.Execute"/>
    public uint Execute(int queue, byte opcode, uint space, ulong data, ulong more, uint word10) => Driver.Execute(queue, opcode, space, data, more, word10);

    /// <summary>Only the first pages are mapped, with what is before them.</summary>
    public void MapFirst(int pages)
    {
        Space.UnmapAll();
        Space.Map(new(UserAddress, (ulong)pages * Page), new Iova(Base), Access.ReadWrite);
    }

    public void Dispose()
    {
        Client.Dispose();
        Space.Dispose();
        _iommu.Dispose();
        Platform.Dispose();
        Device.Dispose();
        NativeMemory.AlignedFree(_memory);
    }
}
