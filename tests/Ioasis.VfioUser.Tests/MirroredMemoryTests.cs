using System.Net.Sockets;
using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.VfioUser.Qemu;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>What a device in another process has written when its mappings change: at moments that a real one cannot be made to write at.</summary>
public sealed class MirroredMemoryTests : IDisposable
{
    private const ulong Address = 0x4000;

    private readonly Peer _peer = new();
    private readonly List<string> _lines = [];
    private readonly MirroredMemory _memory;
    private readonly Port _port = new();
    private readonly DeviceConnection _machine;
    private IReadOnlyList<DeviceMapping> _mappings = [];

    public MirroredMemoryTests()
    {
        _memory = new(1ul << 58) { Refused = _lines.Add };
        _machine = new(DeviceId.FromPci(0, 0, 3, 0), _port) { Mappings = () => _mappings };
    }

    public void Dispose()
    {
        _memory.Dispose();
        _peer.Dispose();
    }

    [Fact]
    public void What_it_wrote_is_made_as_its_dma()
    {
        Lead(Address, 0x10_0000);
        _peer.Write(Address + 8, 42);
        Synchronize();
        _port.Written.ShouldBe([(Address + 8, 42ul)]);
        _port.Refused.ShouldBeEmpty();
    }

    [Fact]
    public void What_it_wrote_to_an_address_that_is_unmapped_since_is_refused_by_the_iommu()
    {
        Lead(Address, 0x10_0000);
        _peer.Write(Address + 8, 42);
        Lead();
        _port.Written.ShouldBeEmpty();
        _port.Refused.ShouldBe([Address + 8]);
    }

    [Fact]
    public void What_it_writes_to_an_address_after_that_was_unmapped_is_refused_by_the_iommu()
    {
        Lead(Address, 0x10_0000);
        Lead();
        _peer.Write(Address + 8, 42);
        _peer.Write(Address + 0x5000, 43);
        Synchronize();
        _port.Written.ShouldBeEmpty();
        _port.Refused.ShouldBe([Address + 8, Address + 0x5000]);

        // Once: then there is nothing.
        Synchronize();
        _port.Refused.Count.ShouldBe(2);
        Lead(Address, 0x10_0000);
        _peer.Read(Address + 8).ShouldBe(0ul);
        _port.Written.ShouldBeEmpty();
    }

    [Fact]
    public void What_it_wrote_before_the_address_led_elsewhere_does_not_come_there()
    {
        Lead(Address, 0x10_0000);
        _peer.Write(Address + 8, 42);
        Lead(Address, 0x20_0000);
        _port.Written.ShouldBeEmpty();
        _lines.ShouldBe(["the device wrote to an address that leads elsewhere by now: that is dropped"]);

        // From then on it is the new page's.
        _peer.Write(Address + 16, 43);
        Synchronize();
        _port.Written.ShouldBe([(Address + 16, 43ul)]);
    }

    [Fact]
    public void What_it_wrote_where_nothing_was_does_not_come_to_what_is_mapped_there_since()
    {
        Lead(Address, 0x10_0000);
        _peer.Write(Address + 0x5000, 42);
        Lead([At(Address, 0x10_0000), At(Address + 0x5000, 0x20_0000)]);
        _port.Written.ShouldBeEmpty();
        _port.Refused.ShouldBeEmpty();
        _lines.ShouldBe(["the device wrote to an address that leads elsewhere by now: that is dropped"]);
    }

    /// <summary>QEMU crashes if memory is taken from it in the middle of a transfer.</summary>
    [Fact]
    public void Of_what_it_is_shown_nothing_is_taken_back()
    {
        Lead(Address, 0x10_0000);
        Lead();
        Lead(Address + 0x1000_0000, 0x10_0000);
        _peer.Shown.ShouldBe(1);
        Lead(0x1_4000_0000, 0x10_0000);
        _peer.Shown.ShouldBe(2);
        _peer.Windows.ShouldBe([0, 0x1_4000_0000]);
        Lead(0x1_8000_0000, 0x10_0000);
        _peer.Windows.ShouldBe([0, 0x1_4000_0000]);
        _peer.Shown.ShouldBe(3);
    }

    [Fact]
    public void What_is_beyond_its_addresses_is_named()
    {
        Lead(1ul << 58, 0x10_0000);
        _lines.ShouldBe(["0x400000000000000 and what follows, 0x1000 bytes, cannot be shown to the device: it has addresses below 0x400000000000000"]);
    }

    private static DeviceMapping At(ulong iova, ulong address) => new(new(iova), MirrorWindow.PageSize, new(address), Access.ReadWrite);

    private void Lead() => Lead([]);

    private void Lead(ulong iova, ulong address) => Lead([At(iova, address)]);

    private void Lead(DeviceMapping[] mappings)
    {
        _mappings = mappings;
        _port.IsMapped = mappings.Length > 0;
        Synchronize();
    }

    private void Synchronize()
    {
        _memory.Synchronize(_machine, _peer.Link, static _ => false, takesIn: true).ShouldBe(Errno.Success);

        // Answered after what was shown before.
        _peer.Link.ReadConfiguration(0, out _).ShouldBe(Errno.Success);
    }

    /// <summary>The IOMMU's side.</summary>
    private sealed class Port : IDmaPort
    {
        public List<(ulong Address, ulong Value)> Written { get; } = [];

        public List<ulong> Refused { get; } = [];

        public bool IsMapped { get; set; } = true;

        public void Translate(in DmaRequest request, out DmaTranslation translation) => throw new NotSupportedException();

        public DmaStatus Read(in DmaRequest request, Span<byte> destination)
        {
            destination.Clear();
            return DmaStatus.Success;
        }

        public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
        {
            if (!IsMapped)
            {
                Refused.Add(request.Address.Value);
                return DmaStatus.UnsupportedRequest;
            }

            Written.Add((request.Address.Value, MemoryMarshal.Read<ulong>(source)));
            return DmaStatus.Success;
        }
    }

    /// <summary>The other end: it has the memory that it was shown last, and answers what is asked.</summary>
    private sealed class Peer : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis");
        private readonly Socket _ours;
        private readonly Socket _theirs;
        private readonly Thread _thread;
        private SafeFileHandle? _file;

        public Peer()
        {
            string path = Path.Combine(_folder.FullName, "socket");
            using Socket listener = UnixSockets.Listen(path);
            _ours = UnixSockets.Connect(path);
            _theirs = listener.Accept();
            Link = new(_ours.SafeHandle, static () => false);
            _thread = new(Answer) { IsBackground = true };
            _thread.Start();
        }

        public QemuLink Link { get; }

        /// <summary>Where the ranges begin that it was shown last.</summary>
        public ulong[] Windows { get; private set; } = [];

        /// <summary>How often it was shown some.</summary>
        public int Shown { get; private set; }

        public unsafe void Write(ulong address, ulong value) => SharedMemory.With(
            _file!, (long)(address & ~0xffful), MirrorWindow.PageSize, place => Volatile.Write(ref *(ulong*)(place + (nint)(address & 0xfff)), value));

        public unsafe ulong Read(ulong address)
        {
            ulong value = 0;
            SharedMemory.With(
                _file!, (long)(address & ~0xffful), MirrorWindow.PageSize, place => value = Volatile.Read(ref *(ulong*)(place + (nint)(address & 0xfff))));
            return value;
        }

        public void Dispose()
        {
            Link.Dispose();
            _thread.Join();
            _theirs.Dispose();
            _ours.Dispose();
            _file?.Dispose();
            _folder.Delete(recursive: true);
        }

        private void Answer()
        {
            byte[] header = new byte[16];
            List<SafeFileHandle> files = [];
            while (TryFill(header, files))
            {
                byte[] body = new byte[BitConverter.ToInt64(header, 8)];
                if (!TryFill(body, files))
                {
                    return;
                }

                if (BitConverter.ToInt32(header) == 0)
                {
                    _file = _file ?? files[0];
                    files.Where(file => file != _file).ToList().ForEach(static file => file.Dispose());
                    files.Clear();
                    Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(body.AsSpan());
                    Windows = words[..words.Slice(8, 8).IndexOf(0ul)].ToArray();
                    Shown++;
                    continue;
                }

                byte[] answer = new byte[24];
                answer[0] = 1;
                answer[8] = 8;
                _ = _theirs.Send(answer);
            }
        }

        private bool TryFill(byte[] destination, List<SafeFileHandle> files)
        {
            for (int done = 0; done < destination.Length;)
            {
                int count = SocketCalls.Receive(_theirs.SafeHandle, destination.AsSpan(done), files, out _);
                if (count <= 0)
                {
                    return false;
                }

                done += count;
            }

            return true;
        }
    }
}
