using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What binds one address space: its shared IOASID, its domains and its attachments.</summary>
internal sealed class SvaProcess(SvaManager manager, ProcessAddressSpace addressSpace) : IAddressSpaceNotifier
{
    private readonly IoLock _lock = new();
    private readonly List<SvaAttachment> _attachments = [];
    private readonly List<(SvaDomain Domain, int Users)> _domains = [];
    private Ioasid _shared;
    private uint _sharedNumber = Pasid.Invalid.Value;
    private bool _ended;

    public SvaManager Manager { get; } = manager;

    public ProcessAddressSpace AddressSpace { get; } = addressSpace;

    public Pasid SharedPasid => new(Volatile.Read(ref _sharedNumber));

    public Errno Bind(IommuDevice device, int bits, object? data, bool isPrivate, out SvaBinding? binding)
    {
        binding = null;
        using (_lock.Acquire())
        {
            if (_ended)
            {
                return Errno.NoEntry;
            }

            // Whatever this call allocates it frees if it fails, and nothing else (S2.8).
            bool allocated = false;
            bool userAdded = false;
            SvaAttachment? attachment = null;
            Errno error = Errno.Success;
            Ioasid ioasid = isPrivate ? default : _shared;
            if (ioasid.IsNone)
            {
                error = Manager.Set.TryAllocate(new() { Last = LastFor(bits), Data = this }, out ioasid);
                allocated = error == Errno.Success;
            }
            else if (ioasid.Pasid.Value >> bits != 0)
            {
                error = Errno.Overflow;
            }

            bool isNew = false;
            if (error == Errno.Success)
            {
                attachment = _attachments.Find(a => ReferenceEquals(a.Device, device) && a.Ioasid == ioasid);
                isNew = attachment is null;
                attachment ??= new(device, ioasid, isPrivate);
            }

            if (error == Errno.Success && isNew)
            {
                // The drain knows the attachment before the hardware can use the PASID.
                error = ioasid.TryAddUser(attachment!);
                userAdded = error == Errno.Success;
                error = userAdded ? Attach(attachment!) : error;
            }

            if (error == Errno.Success)
            {
                // A reference more: the PASID outlives the process as long as there is a handle.
                error = ioasid.TryGet() ? Errno.Success : Errno.NoEntry;
            }

            if (error == Errno.Success)
            {
                if (isNew)
                {
                    _attachments.Add(attachment!);
                }

                if (!isPrivate)
                {
                    Share(ioasid);
                }

                binding = new(this, attachment!, data);
                attachment!.Bindings.Add(binding);
                return Errno.Success;
            }

            Unwind(ioasid, attachment, allocated, userAdded);
            return error;
        }
    }

    public Errno Unbind(SvaBinding binding)
    {
        using (_lock.Acquire())
        {
            SvaAttachment attachment = binding.Attachment;
            Ioasid ioasid = attachment.Ioasid;
            if (attachment.Bindings.Count == 1)
            {
                Errno error = ioasid.RemoveUser(attachment, Manager.DrainPatience);
                if (error is not (Errno.Success or Errno.NoEntry))
                {
                    return error;
                }

                _ = _attachments.Remove(attachment);
                DropDomain(attachment.Domain);
            }

            _ = attachment.Bindings.Remove(binding);
            ioasid.Put();
            if (attachment.IsPrivate)
            {
                _ = ioasid.Free(Manager.DrainPatience);
            }

            return Errno.Success;
        }
    }

    /// <summary>
    /// The process ends: its DMA is stopped, what is under way is drained, and only then does the shared PASID go; it stays
    /// parked while there are handles (S2.1). Private ones are stopped too, and end with their handles.
    /// </summary>
    public Errno OnExit(ProcessAddressSpace ending)
    {
        using (_lock.Acquire())
        {
            _ended = true;

            // All are stopped before the first is waited for; what fails here is tried again by what follows.
            foreach (SvaAttachment attachment in _attachments)
            {
                _ = attachment.Stop(attachment.Ioasid);
            }

            Errno result = _shared.Free(Manager.DrainPatience);
            result = result == Errno.NoEntry ? Errno.Success : result;
            foreach (SvaAttachment attachment in _attachments)
            {
                if (attachment.IsPrivate && result == Errno.Success)
                {
                    result = AwaitDrain(attachment);
                }
            }

            return result;
        }
    }

    // The number is read without the lock.
    private void Share(Ioasid ioasid)
    {
        _shared = ioasid;
        Volatile.Write(ref _sharedNumber, ioasid.IsNone ? Pasid.Invalid.Value : ioasid.Pasid.Value);
    }

    private static Pasid LastFor(int bits) => new((1u << bits) - 1);

    private Errno AwaitDrain(SvaAttachment attachment)
    {
        Errno error = attachment.Stop(attachment.Ioasid);
        if (error != Errno.Success)
        {
            return error;
        }

        TimeProvider time = Manager.Set.Allocator.TimeProvider;
        long start = time.GetTimestamp();
        while (!attachment.IsDrained(attachment.Ioasid, out _))
        {
            if (time.GetElapsedTime(start) > (Manager.DrainPatience ?? Manager.Set.Allocator.DrainPatience))
            {
                return Errno.TimedOut;
            }

            _ = Injection.Hit(InjectionKind.Wait);
            Thread.Yield();
        }

        return Errno.Success;
    }

    // One domain serves as many IOMMUs as can walk the process's table.
    private Errno Attach(SvaAttachment attachment)
    {
        Errno error = Errno.InvalidArgument;
        for (int i = 0; i < _domains.Count && error == Errno.InvalidArgument; i++)
        {
            error = attachment.Attach(_domains[i].Domain);
            if (error == Errno.Success)
            {
                _domains[i] = (_domains[i].Domain, _domains[i].Users + 1);
            }
        }

        if (error != Errno.InvalidArgument)
        {
            return error;
        }

        error = attachment.Device.Iommu.TryAllocateSvaDomain(attachment.Device, AddressSpace, out SvaDomain? domain);
        if (error != Errno.Success)
        {
            return error;
        }

        error = attachment.Attach(domain!);
        if (error == Errno.Success)
        {
            _domains.Add((domain!, 1));
        }
        else
        {
            domain!.Dispose();
        }

        return error;
    }

    private void DropDomain(SvaDomain? domain)
    {
        int index = _domains.FindIndex(d => ReferenceEquals(d.Domain, domain));
        if (index < 0)
        {
            return;
        }

        _domains[index] = (_domains[index].Domain, _domains[index].Users - 1);
        if (_domains[index].Users == 0)
        {
            _domains[index].Domain.Dispose();
            _domains.RemoveAt(index);
        }
    }

    private void Unwind(Ioasid ioasid, SvaAttachment? attachment, bool allocated, bool userAdded)
    {
        if (userAdded)
        {
            _ = ioasid.RemoveUser(attachment!, Manager.DrainPatience);
            DropDomain(attachment!.Domain);
        }

        if (allocated)
        {
            _ = ioasid.Free(Manager.DrainPatience);
        }
    }
}
